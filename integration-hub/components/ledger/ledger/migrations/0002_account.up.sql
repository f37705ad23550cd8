CREATE TABLE account (
  invoice BIGINT PRIMARY KEY,
  paid_cents BIGINT NOT NULL CHECK (paid_cents >= 0)
);
INSERT INTO account (invoice, paid_cents) SELECT invoice, SUM(cents) FROM payment GROUP BY invoice;
CREATE INDEX payment_by_invoice ON payment (invoice, number);
