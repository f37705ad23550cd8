INSERT INTO invoice (number, customer, document) VALUES (1, 'ACME', '{}'), (2, 'ACME', '{}'), (3, 'Roadrunner', '{}');
