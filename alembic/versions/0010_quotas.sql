-- What an account may have at most (RELIABILITY S17); NULL: no limit.
ALTER TABLE accounts
    ADD COLUMN most_services integer CHECK (most_services >= 0),
    ADD COLUMN most_containers integer CHECK (most_containers >= 0);
