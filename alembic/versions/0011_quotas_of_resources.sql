-- What the containers of an account may use at most, together (RELIABILITY S17): MB, and shares of which a core has 1024.
ALTER TABLE accounts
    ADD COLUMN most_memory bigint CHECK (most_memory >= 0),
    ADD COLUMN most_cpu_shares bigint CHECK (most_cpu_shares >= 0);
