-- A small shop to try `POST /batch` on: customers, their invoices, the lines of those.
-- Run once, when the SQLite file of a database with `init_sql` is new.

CREATE TABLE customer (
    customer_id INTEGER PRIMARY KEY,
    first_name  TEXT NOT NULL,
    last_name   TEXT,
    email       TEXT NOT NULL UNIQUE,
    -- Counts the changes: an update must name the revision it was made from.
    revision    INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE invoice (
    invoice_id  INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customer (customer_id),
    status      TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'paid', 'void')),
    total       DECIMAL(12, 2) NOT NULL DEFAULT 0 CHECK (total >= 0)
);
CREATE INDEX invoice_customer ON invoice (customer_id);

CREATE TABLE invoice_line (
    invoice_line_id INTEGER PRIMARY KEY,
    invoice_id      INTEGER NOT NULL REFERENCES invoice (invoice_id) ON DELETE CASCADE,
    description     TEXT NOT NULL,
    quantity        INTEGER NOT NULL DEFAULT 1 CHECK (quantity > 0),
    unit_price      DECIMAL(12, 2) NOT NULL CHECK (unit_price >= 0)
);
CREATE INDEX invoice_line_invoice ON invoice_line (invoice_id);

INSERT INTO customer (customer_id, first_name, last_name, email) VALUES
    (1, 'Ada', 'Lovelace', 'ada@example.org'),
    (2, 'Edsger', 'Dijkstra', 'edsger@example.org');

INSERT INTO invoice (invoice_id, customer_id, status, total) VALUES
    (1, 1, 'paid', 42.50);

INSERT INTO invoice_line (invoice_id, description, quantity, unit_price) VALUES
    (1, 'punched cards, box', 2, 12.25),
    (1, 'operator, hour', 1, 18.00);
