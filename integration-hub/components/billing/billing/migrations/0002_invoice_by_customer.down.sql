DROP INDEX invoice_by_customer;
