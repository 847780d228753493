-- Fennick Parcel Service on 12 March 2026.

CREATE TABLE clock (today TEXT NOT NULL);
INSERT INTO clock VALUES ('2026-03-12');

CREATE TABLE customers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, street TEXT NOT NULL, postcode TEXT NOT NULL,
    city TEXT NOT NULL
);
INSERT INTO customers VALUES
    ('C-01', 'Ines Okafor', 'ines.okafor@post.example', '8 Tanner Row', '4410', 'Aldermouth'),
    ('C-02', 'Tomasz Wolny', 't.wolny@mail.example', '31 Harbour Street', '4412', 'Aldermouth'),
    ('C-03', 'Priya Raman', 'priya@raman.example', '5 Orchard Close', '2705', 'Pellham'),
    ('C-04', 'Gustav Lindqvist', 'gustav.l@post.example', '77 Mill Lane', '2709', 'Pellham'),
    ('C-05', 'Amara Diallo', 'amara.diallo@mail.example', '12 Foundry Road', '6120', 'Corvin'),
    ('C-06', 'Henry Ashdown', 'h.ashdown@post.example', '2 Chapel Hill', '6125', 'Corvin'),
    ('C-07', 'Lucia Ferreira', 'lucia.ferreira@mail.example', '19 Quay Side', '4410', 'Aldermouth'),
    ('C-08', 'Yusuf Demir', 'yusuf@demir.example', '40 Station Road', '2705', 'Pellham'),
    ('C-09', 'Marit Hansen', 'marit.hansen@post.example', '3 Larch Grove', '6120', 'Corvin'),
    ('C-10', 'Oliver Brandt', 'o.brandt@mail.example', '66 Weaver Street', '4417', 'Aldermouth'),
    ('C-11', 'Chiara Conti', 'chiara@conti.example', '14 Bell Yard', '2709', 'Pellham'),
    ('C-12', 'Samuel Mensah', 'sam.mensah@mail.example', '25 Canal View', '6125', 'Corvin');

CREATE TABLE pickup_points (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, street TEXT NOT NULL, postcode TEXT NOT NULL, city TEXT NOT NULL,
    hours TEXT NOT NULL, room INTEGER NOT NULL CHECK (room >= 0)
);
INSERT INTO pickup_points VALUES
    ('PP-11', 'Corner Books', '3 Market Square', '4411', 'Aldermouth', 'Mon-Sat 9-18', 0),
    ('PP-12', 'Harbour Kiosk', '1 Ferry Steps', '4412', 'Aldermouth', 'daily 7-22', 6),
    ('PP-21', 'Pellham Garage', '90 Mill Lane', '2709', 'Pellham', 'Mon-Fri 8-19', 3),
    ('PP-22', 'Orchard Bakery', '6 Orchard Close', '2705', 'Pellham', 'Tue-Sun 6-14', 2),
    ('PP-31', 'Corvin Station Shop', 'Station Hall', '6121', 'Corvin', 'daily 6-23', 8);

CREATE TABLE parcels (
    id TEXT PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers, sender TEXT NOT NULL,
    service TEXT NOT NULL CHECK (service IN ('standard', 'express')),
    status TEXT NOT NULL CHECK (status IN ('announced', 'in_transit', 'at_depot', 'held', 'out_for_delivery',
                                           'delivered', 'returning')),
    street TEXT, postcode TEXT, city TEXT, pickup_point_id TEXT REFERENCES pickup_points,
    promised_on TEXT NOT NULL, delivered_on TEXT, slot TEXT, held_until TEXT,
    declared_value REAL NOT NULL, route_changes INTEGER NOT NULL DEFAULT 0
);
INSERT INTO parcels VALUES
    ('GP-1042', 'C-01', 'Loom & Thread', 'standard', 'at_depot', '8 Tanner Row', '4410', 'Aldermouth', NULL, '2026-03-13', NULL, NULL, NULL, 85.0, 0),
    ('GP-1043', 'C-01', 'Northlight Lamps', 'express', 'in_transit', '8 Tanner Row', '4410', 'Aldermouth', NULL, '2026-03-13', NULL, NULL, NULL, 140.0, 0),
    ('GP-1101', 'C-02', 'Wickham Tools', 'standard', 'in_transit', '31 Harbour Street', '4412', 'Aldermouth', NULL, '2026-03-16', NULL, NULL, NULL, 62.5, 0),
    ('GP-1102', 'C-02', 'Old Press Books', 'standard', 'delivered', '31 Harbour Street', '4412', 'Aldermouth', NULL, '2026-03-03', '2026-03-02', NULL, NULL, 38.0, 0),
    ('GP-1203', 'C-03', 'Kiln and Clay', 'standard', 'delivered', '5 Orchard Close', '2705', 'Pellham', NULL, '2026-03-10', '2026-03-10', NULL, NULL, 74.0, 0),
    ('GP-1204', 'C-03', 'Saffron House', 'standard', 'in_transit', '5 Orchard Close', '2705', 'Pellham', NULL, '2026-03-14', NULL, NULL, NULL, 29.9, 0),
    ('GP-1305', 'C-04', 'Velo Works', 'standard', 'out_for_delivery', '77 Mill Lane', '2709', 'Pellham', NULL, '2026-03-12', NULL, 'afternoon', NULL, 210.0, 0),
    ('GP-1306', 'C-04', 'Brightwater Optics', 'standard', 'at_depot', '77 Mill Lane', '2709', 'Pellham', NULL, '2026-03-13', NULL, NULL, NULL, 890.0, 0),
    ('GP-1407', 'C-05', 'Studio Ode', 'standard', 'in_transit', '12 Foundry Road', '6120', 'Corvin', NULL, '2026-03-17', NULL, NULL, NULL, 120.0, 0),
    ('GP-1408', 'C-05', 'Atelier Brume', 'standard', 'in_transit', '12 Foundry Road', '6120', 'Corvin', NULL, '2026-03-04', NULL, NULL, NULL, 55.0, 0),
    ('GP-1509', 'C-06', 'Hale Records', 'standard', 'in_transit', NULL, NULL, NULL, 'PP-31', '2026-03-13', NULL, NULL, NULL, 47.0, 1),
    ('GP-1510', 'C-06', 'Crowe & Son', 'standard', 'in_transit', '2 Chapel Hill', '6125', 'Corvin', NULL, '2026-03-10', NULL, NULL, NULL, 300.0, 0),
    ('GP-1611', 'C-07', 'Salt Kitchen', 'standard', 'at_depot', '19 Quay Side', '4410', 'Aldermouth', NULL, '2026-03-13', NULL, NULL, NULL, 66.0, 0),
    ('GP-1612', 'C-07', 'Bay Ceramics', 'standard', 'delivered', '19 Quay Side', '4410', 'Aldermouth', NULL, '2026-03-11', '2026-03-11', NULL, NULL, 90.0, 0),
    ('GP-1713', 'C-08', 'Meridian Phones', 'standard', 'announced', '40 Station Road', '2705', 'Pellham', NULL, '2026-03-18', NULL, NULL, NULL, 449.0, 0),
    ('GP-1714', 'C-08', 'Anatolia Foods', 'standard', 'at_depot', '40 Station Road', '2705', 'Pellham', NULL, '2026-03-13', NULL, NULL, NULL, 35.0, 0),
    ('GP-1815', 'C-09', 'Fjordline Wool', 'standard', 'in_transit', '3 Larch Grove', '6120', 'Corvin', NULL, '2026-03-16', NULL, NULL, NULL, 180.0, 0),
    ('GP-1916', 'C-10', 'Pixel & Pine', 'standard', 'at_depot', '66 Weaver Street', '4417', 'Aldermouth', NULL, '2026-03-13', NULL, NULL, NULL, 95.0, 0),
    ('GP-1917', 'C-10', 'Greenhouse Direct', 'standard', 'in_transit', '66 Weaver Street', '4417', 'Aldermouth', NULL, '2026-03-16', NULL, NULL, NULL, 40.0, 0),
    ('GP-2018', 'C-11', 'Casa Verde', 'standard', 'in_transit', '14 Bell Yard', '2709', 'Pellham', NULL, '2026-03-17', NULL, NULL, NULL, 73.0, 0),
    ('GP-2119', 'C-12', 'Akwaaba Prints', 'standard', 'announced', '25 Canal View', '6125', 'Corvin', NULL, '2026-03-19', NULL, NULL, NULL, 58.0, 0),
    ('GP-2120', 'C-12', 'Tide Audio', 'standard', 'delivered', '25 Canal View', '6125', 'Corvin', NULL, '2026-03-09', '2026-03-09', NULL, NULL, 160.0, 0);

CREATE TABLE charges (
    parcel_id TEXT NOT NULL REFERENCES parcels, reason TEXT NOT NULL, amount REAL NOT NULL, PRIMARY KEY (parcel_id, reason)
);
CREATE TABLE claims (
    parcel_id TEXT PRIMARY KEY REFERENCES parcels, kind TEXT NOT NULL, amount REAL NOT NULL, description FREE TEXT NOT NULL,
    opened_on TEXT NOT NULL
);
CREATE TABLE handovers (
    customer_id TEXT NOT NULL REFERENCES customers, topic TEXT NOT NULL, note FREE TEXT NOT NULL, PRIMARY KEY (customer_id, topic)
);
