"""Histories in Jepsen's manner: `./tutela histories`.

Every call is recorded while Postgres and API processes are killed, and the final state has to be explained by the
record. `history` is what is recorded, `checker` judges it (pure), `plan` says what is killed when (pure, from a seed),
`nemesis` kills, `workload` calls through `client`, `final` reads what is there in the end, `run` puts it together.
`proxy` cuts the way to Postgres at a commit, for the cases that chance would rarely hit.
"""
