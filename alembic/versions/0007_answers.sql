-- Answers to requests with an Idempotency-Key, so that a repeated request is answered and not done again.

-- `fingerprint` is a code of the request, made with the installation's secret: bodies hold passwords. `sealed` is the
-- body of the answer, sealed as it may hold what is told only once. A row is there when what it answers was committed.
CREATE TABLE answers (
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    headers jsonb NOT NULL,
    sealed bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, key)
);
CREATE INDEX answers_at ON answers (at);
