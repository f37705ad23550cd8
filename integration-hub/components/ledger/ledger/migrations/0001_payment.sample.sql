INSERT INTO payment (number, invoice, cents, reference) VALUES (1, 7, 1050, 'first half'), (2, 7, 1050, 'second half'), (3, 9, 1, 'a cent');
