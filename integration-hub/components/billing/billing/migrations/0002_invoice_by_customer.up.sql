CREATE INDEX invoice_by_customer ON invoice (customer, number);
