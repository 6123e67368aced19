"""What the simulations of consensus engines have in common.

Clients and their state, what must hold of them at the end, copies of an engine with a fault in it, and
campaigns of many seeds.
"""
