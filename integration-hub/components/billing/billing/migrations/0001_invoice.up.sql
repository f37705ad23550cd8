CREATE TABLE invoice (
  number BIGINT PRIMARY KEY,
  customer TEXT NOT NULL,
  document TEXT NOT NULL
);
