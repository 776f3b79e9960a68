"""The whole platform in one process on virtual time, with every chance from a seed: `./tutela simulate`.

Real: the orchestrator's passes, sweeps and dispatch, the agents, the users' commands, the frames between them, and
Postgres with a clock of ours (`store`). Models: the engines (`engine`), the network (`net`), disks and processes
(`process`, `loop`). `faults` and `users` act by seed, `invariants` judges, `history` remembers. How to read a history
and how to add a fault, an invariant or a planted bug: docs/design/simulation.md.
"""
