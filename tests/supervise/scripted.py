"""Programs of supervision, as data: run on flowcore here, and on OTP by `oracle.erl`.

A tree is ("sup", name, strategy, intensity, period, restart, [trees]) or ("worker", name, restart, fails),
where `fails` are the numbers (from 0) of the starts of that worker that fail. A script is a list of
("kill", name), ("finish", name), ("stop", sup, name), ("restart", sup, name), ("delete", sup, name).
"""
