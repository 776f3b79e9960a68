"""The vocabulary of Tutela: values and rules without I/O, clock or chance.

Standard library only. What must not be here: asyncio, SQL, HTTP, Docker, logging, `now()`. Every
function that needs the time takes it as an argument, so that a decision can be replayed.
"""
