-- One database for the platform, a scratch one for rehearsals, and in both a schema of its own for
-- each component: it can neither read nor change what is another's.
CREATE ROLE billing LOGIN PASSWORD 'billing';
CREATE ROLE ledger LOGIN PASSWORD 'ledger';
ALTER ROLE billing SET search_path = billing;
ALTER ROLE ledger SET search_path = ledger;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA billing AUTHORIZATION billing;
CREATE SCHEMA ledger AUTHORIZATION ledger;

CREATE DATABASE rehearsal;
\connect rehearsal
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA billing AUTHORIZATION billing;
CREATE SCHEMA ledger AUTHORIZATION ledger;
