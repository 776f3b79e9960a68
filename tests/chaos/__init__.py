"""Everything that may die is killed in turn, and nothing that people run may notice: `./tutela chaos`.

`plan` says when what is killed (pure, from a seed), `parts` kills and waits for recovery, `watch` looks at every engine
all the time, `run` puts it together and judges.
"""
