"""Programs that do with other people's libraries what flowserve is measured at.

They run in environments of their own (`.peers`, made by `make benchmark` from the pinned `mcp1.txt` and
`mcp2.txt` beside them) and are started by path: nothing of flowcore is imported there.
"""
