-- What the queries of examples.yaml read: a mail-order shop. Every statement is valid in SQLite, PostgreSQL and MySQL.
CREATE TABLE customer (
  customer_id INTEGER PRIMARY KEY,
  name VARCHAR(60) NOT NULL,
  email VARCHAR(60),
  city VARCHAR(40) NOT NULL,
  joined_on DATE NOT NULL,
  active BOOLEAN NOT NULL,
  credit DECIMAL(10, 2)
);
CREATE TABLE product (
  product_id INTEGER PRIMARY KEY,
  name VARCHAR(60) NOT NULL,
  category VARCHAR(40) NOT NULL,
  price DECIMAL(10, 2) NOT NULL,
  cost DECIMAL(10, 2) NOT NULL,
  specs TEXT NOT NULL
);
CREATE TABLE purchase (
  purchase_id INTEGER PRIMARY KEY,
  customer_id INTEGER NOT NULL,
  bought_on DATE NOT NULL,
  shipped_on DATE,
  status VARCHAR(20) NOT NULL,
  FOREIGN KEY (customer_id) REFERENCES customer (customer_id)
);
CREATE TABLE item (
  item_id INTEGER PRIMARY KEY,
  purchase_id INTEGER NOT NULL,
  product_id INTEGER NOT NULL,
  quantity INTEGER NOT NULL,
  unit_price DECIMAL(10, 2) NOT NULL,
  FOREIGN KEY (purchase_id) REFERENCES purchase (purchase_id),
  FOREIGN KEY (product_id) REFERENCES product (product_id)
);
CREATE TABLE employee (
  employee_id INTEGER PRIMARY KEY,
  name VARCHAR(60) NOT NULL,
  manager_id INTEGER,
  department VARCHAR(40) NOT NULL,
  salary INTEGER NOT NULL,
  FOREIGN KEY (manager_id) REFERENCES employee (employee_id)
);
CREATE TABLE shift (
  shift_id INTEGER PRIMARY KEY,
  employee_id INTEGER NOT NULL,
  starts_on DATE NOT NULL,
  ends_on DATE NOT NULL,
  FOREIGN KEY (employee_id) REFERENCES employee (employee_id)
);
CREATE TABLE depot (
  depot_id INTEGER PRIMARY KEY,
  name VARCHAR(40) NOT NULL,
  lat DOUBLE PRECISION NOT NULL,
  lon DOUBLE PRECISION NOT NULL
);
CREATE TABLE price_band (
  band VARCHAR(20) PRIMARY KEY,
  low DECIMAL(10, 2) NOT NULL,
  high DECIMAL(10, 2) NOT NULL
);
INSERT INTO customer VALUES
  (1, 'Anna Brandt', 'anna@post.example', 'Ghent', '2022-03-14', TRUE, 120.00),
  (2, 'Milo Ferrer', NULL, 'Porto', '2022-11-02', TRUE, 0.00),
  (3, 'Ines Okafor', 'ines@post.example', 'Ghent', '2023-01-20', FALSE, NULL),
  (4, 'Teo Lindqvist', 'teo@post.example', 'Malmo', '2023-06-08', TRUE, 45.50),
  (5, 'Anna Kovac', NULL, 'Porto', '2023-09-30', FALSE, 10.00);
INSERT INTO product VALUES
  (1, 'Desk Lamp', 'lighting', 39.90, 18.00, '{"color": "black", "tags": ["office", "steel"]}'),
  (2, 'Floor Lamp', 'lighting', 89.00, 41.50, '{"color": "white", "tags": ["lounge"]}'),
  (3, 'Oak Shelf', 'furniture', 129.00, 70.25, '{"color": "oak", "tags": ["office", "wood"]}'),
  (4, 'Wool Rug', 'textiles', 149.50, 95.00, '{"color": "red", "tags": ["lounge", "wool"]}'),
  (5, 'Cushion', 'textiles', 19.90, 6.00, '{"color": "red", "tags": ["lounge"]}');
INSERT INTO purchase VALUES
  (1, 1, '2023-11-28', '2023-12-01', 'shipped'),
  (2, 2, '2023-12-05', '2023-12-09', 'shipped'),
  (3, 1, '2024-01-10', '2024-01-12', 'shipped'),
  (4, 4, '2024-01-11', NULL, 'open'),
  (5, 2, '2024-01-12', '2024-01-18', 'returned'),
  (6, 1, '2024-02-20', NULL, 'open');
INSERT INTO item VALUES
  (1, 1, 1, 2, 39.90), (2, 1, 5, 4, 19.90), (3, 2, 1, 1, 39.90), (4, 2, 5, 2, 18.90), (5, 3, 3, 1, 129.00),
  (6, 4, 2, 1, 89.00), (7, 4, 5, 1, 19.90), (8, 5, 4, 1, 149.50), (9, 6, 2, 2, 85.00), (10, 6, 4, 1, 149.50);
INSERT INTO employee VALUES
  (1, 'Rosa Veld', NULL, 'board', 9800),
  (2, 'Ken Asante', 1, 'sales', 6100),
  (3, 'Lea Novak', 1, 'stock', 5900),
  (4, 'Omar Diaz', 2, 'sales', 4100),
  (5, 'Pia Holm', 2, 'sales', 4400),
  (6, 'Jan Meer', 3, 'stock', 3900);
INSERT INTO shift VALUES
  (1, 4, '2024-01-01', '2024-01-05'), (2, 5, '2024-01-04', '2024-01-08'), (3, 6, '2024-01-09', '2024-01-12'),
  (4, 4, '2024-01-10', '2024-01-14'), (5, 5, '2024-02-01', '2024-02-03');
INSERT INTO depot VALUES
  (1, 'Ghent North', 51.08, 3.72), (2, 'Porto Sul', 41.14, -8.61), (3, 'Malmo Port', 55.61, 13.00);
INSERT INTO price_band VALUES ('budget', 0, 49.99), ('middle', 50, 119.99), ('premium', 120, 9999);
