-- Join tokens, the installation's certificate authority, the control planes that are up.
SELECT 1;
