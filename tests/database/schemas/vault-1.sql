BEGIN TRANSACTION;
CREATE TABLE schema_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE secret_versions (
    ordinal INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    vault VARCHAR NOT NULL,
    "key" VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    sealed BLOB NOT NULL,
    content_type VARCHAR,
    tags VARCHAR NOT NULL,
    enabled BOOLEAN NOT NULL,
    not_before BIGINT,
    expires BIGINT,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    FOREIGN KEY(vault, "key") REFERENCES secrets (vault, "key") ON DELETE CASCADE,
    UNIQUE (vault, "key", version)
);
INSERT INTO "secret_versions" VALUES(1,'demo','name','b86bd8873d9f4728bb7bc726dccb65f3',X'A9DE02149D128EF164F3897194DD8231AF5D57712072BF5DBF492E37DE68BB0906',NULL,'{}',1,NULL,NULL,1,1);
INSERT INTO "secret_versions" VALUES(2,'demo','name','98f101fb5ee448b4b6991bfce5eee4d1',X'AE81B47F20EEA123FD535018F1573844B1C267C6D3DCD5587D9E9EF91A4AEBF46EB1',NULL,'{"a": "b"}',1,NULL,NULL,2,2);
INSERT INTO "secret_versions" VALUES(3,'demo','gone','cf052f84ec974b6c81a70b54e27a38ab',X'A9DC1E17B8A1E7D3AC998EB4B08CED2A5AD583EAA3DA12517AFABBFF6B',NULL,'{}',1,NULL,NULL,1,1);
CREATE TABLE secrets (
    vault VARCHAR NOT NULL,
    "key" VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    deleted BIGINT,
    purge_on BIGINT,
    PRIMARY KEY (vault, "key")
);
INSERT INTO "secrets" VALUES('demo','name','Name',NULL,NULL);
INSERT INTO "secrets" VALUES('demo','gone','gone',5,7776005);
CREATE INDEX secret_versions_latest ON secret_versions (vault, "key", ordinal);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('secret_versions',3);
COMMIT;
