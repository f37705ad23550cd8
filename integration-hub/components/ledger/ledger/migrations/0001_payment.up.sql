CREATE TABLE payment (
  number BIGINT PRIMARY KEY,
  invoice BIGINT NOT NULL,
  cents BIGINT NOT NULL CHECK (cents > 0),
  reference TEXT NOT NULL
);
