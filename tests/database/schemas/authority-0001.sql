BEGIN TRANSACTION;
CREATE TABLE alembic_version_authority (
    version_num TEXT NOT NULL,
    PRIMARY KEY (version_num)
) STRICT;
INSERT INTO "alembic_version_authority" VALUES('0001');
CREATE TABLE authority_codes (
    digest BLOB NOT NULL,
    issued REAL NOT NULL,
    used INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (digest)
) STRICT;
INSERT INTO "authority_codes" VALUES(X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F',1.0,0,X'03');
CREATE TABLE authority_devices (
    digest BLOB NOT NULL,
    user_code BLOB,
    begun REAL NOT NULL,
    polled REAL NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (digest),
    UNIQUE (user_code)
) STRICT;
INSERT INTO "authority_devices" VALUES(X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F',NULL,1.0,-1.0,X'04');
CREATE TABLE authority_lockouts (
    user_id TEXT NOT NULL,
    wrong INTEGER NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (user_id)
) STRICT;
INSERT INTO "authority_lockouts" VALUES('ada',1,1.0);
CREATE TABLE authority_keys (
    ordinal INTEGER NOT NULL,
    kid TEXT NOT NULL,
    created REAL NOT NULL,
    activates REAL NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (ordinal),
    UNIQUE (kid)
) STRICT;
INSERT INTO "authority_keys" VALUES(1,'kid-1',1.0,2.0,X'0001');
CREATE TABLE authority_seals (
    name TEXT NOT NULL,
    created REAL NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (name)
) STRICT;
INSERT INTO "authority_seals" VALUES('refresh-tokens',1.0,X'02');
CREATE TABLE authority_used_forms (
    digest BLOB NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (digest)
) STRICT;
INSERT INTO "authority_used_forms" VALUES(X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F',1.0);
CREATE TABLE authority_wrong_codes (
    id TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (id)
) STRICT;
INSERT INTO "authority_wrong_codes" VALUES('b0a4b1f8-6f0b-4a43-9d2c-0d5c0c5a0f01',1.0);
CREATE INDEX authority_codes_issued ON authority_codes (issued);
CREATE INDEX authority_devices_begun ON authority_devices (begun);
CREATE INDEX authority_used_forms_at ON authority_used_forms (at);
CREATE INDEX authority_wrong_codes_at ON authority_wrong_codes (at);
COMMIT;
