BEGIN TRANSACTION;
CREATE TABLE alembic_version_vault (
    version_num TEXT NOT NULL,
    PRIMARY KEY (version_num)
) STRICT;
INSERT INTO "alembic_version_vault" VALUES('0002');
CREATE TABLE secret_versions (
    ordinal INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    vault TEXT NOT NULL,
    "key" TEXT NOT NULL,
    version TEXT NOT NULL,
    sealed BLOB NOT NULL,
    content_type TEXT,
    tags TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    not_before INTEGER,
    expires INTEGER,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    document TEXT,
    FOREIGN KEY(vault, "key") REFERENCES secrets (vault, "key") ON DELETE CASCADE,
    UNIQUE (vault, "key", version)
) STRICT;
INSERT INTO "secret_versions" VALUES(1,'demo','name','39d4a6f5ba494c1ab4fe90d3d8af3106',X'B02B75EE6C235BC0C438919115DB8DCDDEE328EC694922663E770D36F56F14DDA6',NULL,'{}',1,NULL,NULL,1,1,NULL);
INSERT INTO "secret_versions" VALUES(2,'demo','name','2c4037ed13b74a258873ad65f8af5c59',X'95A95A8E5C0C13BA2B603642B35D6811E247FC48D203007CFF2527BEE6A1DDF2BFCC',NULL,'{"a": "b"}',1,NULL,NULL,2,2,NULL);
INSERT INTO "secret_versions" VALUES(3,'demo','gone','0f1d7867dafd42de8ead768ae8d4bb14',X'4E69443F3957295BE9A24D2D28BAEF06D8F49F575922D65D022B299208',NULL,'{}',1,NULL,NULL,1,1,NULL);
INSERT INTO "secret_versions" VALUES(4,'demo/keys','sign','5c0d1f2e3b4a59687766554433221100',X'C64FEAB85F8CA584875079A1C133B5C5CB116A110DD51A2F1BA56083DF6E32',NULL,'{}',1,NULL,NULL,3,3,'{"key_ops": ["sign"]}');
CREATE TABLE secrets (
    vault TEXT NOT NULL,
    "key" TEXT NOT NULL,
    name TEXT NOT NULL,
    deleted INTEGER,
    purge_on INTEGER,
    settings TEXT,
    next_action INTEGER,
    PRIMARY KEY (vault, "key")
) STRICT;
INSERT INTO "secrets" VALUES('demo','name','Name',NULL,NULL,NULL,NULL);
INSERT INTO "secrets" VALUES('demo','gone','gone',5,7776005,NULL,NULL);
INSERT INTO "secrets" VALUES('demo/keys','sign','sign',NULL,NULL,'{"rotation": {}}',9);
CREATE INDEX secret_versions_latest ON secret_versions (vault, "key", ordinal);
CREATE INDEX secrets_due ON secrets (purge_on);
CREATE INDEX secrets_next_action ON secrets (next_action);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('secret_versions',4);
COMMIT;
