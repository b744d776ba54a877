BEGIN TRANSACTION;
CREATE TABLE schema_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(2);
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
INSERT INTO "secret_versions" VALUES(1,'demo','name','39d4a6f5ba494c1ab4fe90d3d8af3106',X'B02B75EE6C235BC0C438919115DB8DCDDEE328EC694922663E770D36F56F14DDA6',NULL,'{}',1,NULL,NULL,1,1);
INSERT INTO "secret_versions" VALUES(2,'demo','name','2c4037ed13b74a258873ad65f8af5c59',X'95A95A8E5C0C13BA2B603642B35D6811E247FC48D203007CFF2527BEE6A1DDF2BFCC',NULL,'{"a": "b"}',1,NULL,NULL,2,2);
INSERT INTO "secret_versions" VALUES(3,'demo','gone','0f1d7867dafd42de8ead768ae8d4bb14',X'4E69443F3957295BE9A24D2D28BAEF06D8F49F575922D65D022B299208',NULL,'{}',1,NULL,NULL,1,1);
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
CREATE INDEX secrets_due ON secrets (purge_on);
CREATE INDEX secret_versions_latest ON secret_versions (vault, "key", ordinal);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('secret_versions',3);
COMMIT;
