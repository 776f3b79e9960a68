"""Every SQL statement of Tutela: one module an aggregate, hand-written, positional arguments only.

A function runs one statement (or one small group of them) on the connection it is given and returns domain
values; rows never leave this package. Lock order, always: services by id, then containers, then nodes by id.
"""
