DROP INDEX payment_by_invoice;
DROP TABLE account;
