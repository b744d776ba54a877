BEGIN TRANSACTION;
CREATE TABLE app_role_assignments (
    id VARCHAR NOT NULL,
    principal_id VARCHAR NOT NULL,
    principal_type VARCHAR NOT NULL,
    resource_id VARCHAR NOT NULL,
    app_role_id VARCHAR NOT NULL,
    created DOUBLE DEFAULT '0' NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (principal_id, resource_id, app_role_id)
);
INSERT INTO "app_role_assignments" VALUES('88888888-aaaa-4bbb-8ccc-000000000001','22222222-aaaa-4bbb-8ccc-000000000001','ServicePrincipal','11111111-aaaa-4bbb-8ccc-000000000002','99999999-aaaa-4bbb-8ccc-000000000001',1.0);
CREATE TABLE audit_entries (
    serial INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    time DOUBLE DEFAULT '0' NOT NULL,
    actor VARCHAR NOT NULL,
    actor_name VARCHAR NOT NULL,
    action VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    correlation_id VARCHAR NOT NULL
);
INSERT INTO "audit_entries" VALUES(1,1700000000.0,'','podpass','microsoft.directory/organization/create','5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','');
INSERT INTO "audit_entries" VALUES(2,1700000000.0,'','podpass','Microsoft.ManagedIdentity/userAssignedIdentities/write','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web','');
INSERT INTO "audit_entries" VALUES(3,1700000000.0,'','podpass','Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web/federatedIdentityCredentials/web','');
INSERT INTO "audit_entries" VALUES(4,1700000000.0,'','podpass','microsoft.directory/applications/create','44444444-aaaa-4bbb-8ccc-000000000001','');
INSERT INTO "audit_entries" VALUES(5,1700000000.0,'','podpass','microsoft.directory/servicePrincipals/create','11111111-aaaa-4bbb-8ccc-000000000002','');
INSERT INTO "audit_entries" VALUES(6,1700000000.0,'','podpass','Microsoft.KeyVault/vaults/write','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/podpass/providers/Microsoft.KeyVault/vaults/demo','');
INSERT INTO "audit_entries" VALUES(7,1700000000.0,'','podpass','Microsoft.Authorization/roleAssignments/write','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.keyvault/vaults/demo/providers/Microsoft.Authorization/roleAssignments/55555555-aaaa-4bbb-8ccc-000000000001','');
CREATE TABLE clusters (
    resource_key VARCHAR NOT NULL,
    resource_id VARCHAR NOT NULL,
    subscription_id VARCHAR NOT NULL,
    "group" VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    location VARCHAR NOT NULL,
    tags VARCHAR DEFAULT '{}' NOT NULL,
    created DOUBLE DEFAULT '0' NOT NULL,
    document VARCHAR DEFAULT '{}' NOT NULL,
    PRIMARY KEY (resource_key)
);
INSERT INTO "clusters" VALUES('/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/c','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/podpass/c','0b1f6471-1bf0-4dda-aec3-cb9272f09590','podpass','c','eastus','{}',1.0,'{}');
CREATE TABLE federated_credentials (
    tenant_id VARCHAR NOT NULL,
    client_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    issuer VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    audience VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    id VARCHAR DEFAULT '' NOT NULL,
    created DOUBLE DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant_id, client_id, name),
    FOREIGN KEY(tenant_id, client_id) REFERENCES identities (tenant_id, client_id) ON DELETE CASCADE,
    UNIQUE (tenant_id, client_id, issuer, subject)
);
INSERT INTO "federated_credentials" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000001','web','https://issuer.example/','subject','api://x','','33333333-aaaa-4bbb-8ccc-000000000001',1700000000.0);
CREATE TABLE identifier_uris (
    tenant_id VARCHAR NOT NULL,
    uri_key VARCHAR NOT NULL,
    client_id VARCHAR NOT NULL,
    place INTEGER NOT NULL,
    uri VARCHAR NOT NULL,
    PRIMARY KEY (tenant_id, uri_key),
    FOREIGN KEY(tenant_id, client_id) REFERENCES identities (tenant_id, client_id) ON DELETE CASCADE
);
INSERT INTO "identifier_uris" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','api://one','11111111-aaaa-4bbb-8ccc-000000000002',0,'api://one');
CREATE TABLE identities (
    tenant_id VARCHAR NOT NULL,
    client_id VARCHAR NOT NULL,
    object_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    resource_id VARCHAR,
    resource_key VARCHAR,
    enabled BOOLEAN NOT NULL,
    application_id VARCHAR,
    unique_name VARCHAR,
    name_key VARCHAR DEFAULT '' NOT NULL,
    has_principal BOOLEAN DEFAULT 1 NOT NULL,
    location VARCHAR DEFAULT '' NOT NULL,
    tags VARCHAR DEFAULT '{}' NOT NULL,
    created DOUBLE DEFAULT '0' NOT NULL,
    document VARCHAR DEFAULT '{}' NOT NULL,
    principal VARCHAR DEFAULT '{}' NOT NULL,
    PRIMARY KEY (tenant_id, client_id),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    UNIQUE (object_id),
    UNIQUE (resource_key)
);
INSERT INTO "identities" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000001','22222222-aaaa-4bbb-8ccc-000000000001','Web','managed-identity','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.managedidentity/userassignedidentities/web',1,NULL,NULL,'web',1,'westeurope','{"a":"b"}',1700000000.0,'{}','{}');
INSERT INTO "identities" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000002','11111111-aaaa-4bbb-8ccc-000000000002','An App','application',NULL,NULL,0,'44444444-aaaa-4bbb-8ccc-000000000001',NULL,'an app',1,'','{}',1700000000.0,'{}','{}');
CREATE TABLE key_credentials (
    tenant_id VARCHAR NOT NULL,
    client_id VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL,
    display_name VARCHAR NOT NULL,
    certificate BLOB NOT NULL,
    thumbprint VARCHAR NOT NULL,
    begins DOUBLE DEFAULT '0' NOT NULL,
    expires DOUBLE DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant_id, client_id, key_id),
    FOREIGN KEY(tenant_id, client_id) REFERENCES identities (tenant_id, client_id) ON DELETE CASCADE
);
INSERT INTO "key_credentials" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000002','k2','c',X'3082','ab',1.5,2.5);
CREATE TABLE password_credentials (
    tenant_id VARCHAR NOT NULL,
    client_id VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL,
    display_name VARCHAR NOT NULL,
    hint VARCHAR NOT NULL,
    digest BLOB NOT NULL,
    begins DOUBLE DEFAULT '0' NOT NULL,
    expires DOUBLE DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant_id, client_id, key_id),
    FOREIGN KEY(tenant_id, client_id) REFERENCES identities (tenant_id, client_id) ON DELETE CASCADE
);
INSERT INTO "password_credentials" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000002','k1','p','abc',X'0001FF',1.0,2.0);
CREATE TABLE resource_groups (
    subscription_id VARCHAR NOT NULL,
    name_key VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    location VARCHAR NOT NULL,
    tags VARCHAR DEFAULT '{}' NOT NULL,
    created DOUBLE DEFAULT '0' NOT NULL,
    PRIMARY KEY (subscription_id, name_key)
);
CREATE TABLE role_assignments (
    principal_id VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    name VARCHAR,
    principal_type VARCHAR DEFAULT 'ServicePrincipal' NOT NULL,
    description VARCHAR DEFAULT '' NOT NULL,
    created DOUBLE DEFAULT '0' NOT NULL,
    created_by VARCHAR DEFAULT '' NOT NULL,
    PRIMARY KEY (principal_id, scope, role)
);
INSERT INTO "role_assignments" VALUES('22222222-aaaa-4bbb-8ccc-000000000001','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.keyvault/vaults/demo','acdd72a7-3385-48ef-bd42-f606fba81ae7','55555555-aaaa-4bbb-8ccc-000000000001','ServicePrincipal','',1700000000.0,'');
CREATE TABLE role_definitions (
    id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    name_key VARCHAR NOT NULL,
    description VARCHAR DEFAULT '' NOT NULL,
    document VARCHAR DEFAULT '{}' NOT NULL,
    created DOUBLE DEFAULT '0' NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name_key)
);
INSERT INTO "role_definitions" VALUES('77777777-aaaa-4bbb-8ccc-000000000001','Own','own','d','{"actions": []}',1.0);
CREATE TABLE schema_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(2);
CREATE TABLE tenant_domains (
    domain VARCHAR NOT NULL,
    tenant_id VARCHAR NOT NULL,
    PRIMARY KEY (domain),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
INSERT INTO "tenant_domains" VALUES('contoso.example','5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0');
CREATE TABLE tenants (
    id VARCHAR NOT NULL,
    display_name VARCHAR NOT NULL,
    PRIMARY KEY (id)
);
INSERT INTO "tenants" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','Contoso');
CREATE TABLE users (
    id VARCHAR NOT NULL,
    tenant_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    name_key VARCHAR NOT NULL,
    display_name VARCHAR DEFAULT '' NOT NULL,
    password VARCHAR DEFAULT '' NOT NULL,
    created DOUBLE DEFAULT '0' NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (tenant_id, name_key),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
INSERT INTO "users" VALUES('66666666-aaaa-4bbb-8ccc-000000000001','5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','Ann@contoso.example','ann@contoso.example','Ann','$scrypt$x',1.25);
CREATE TABLE vaults (
    name VARCHAR NOT NULL,
    tenant_id VARCHAR NOT NULL,
    location VARCHAR NOT NULL,
    resource_id VARCHAR NOT NULL,
    resource_key VARCHAR,
    uid VARCHAR DEFAULT '' NOT NULL,
    access VARCHAR DEFAULT 'rbac' NOT NULL,
    policies VARCHAR DEFAULT '[]' NOT NULL,
    retention_days INTEGER DEFAULT '90' NOT NULL,
    purge_protection BOOLEAN DEFAULT 0 NOT NULL,
    tags VARCHAR DEFAULT '{}' NOT NULL,
    created DOUBLE DEFAULT '0' NOT NULL,
    document VARCHAR DEFAULT '{}' NOT NULL,
    deleted DOUBLE,
    purge_on DOUBLE,
    PRIMARY KEY (name),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    UNIQUE (resource_id)
);
INSERT INTO "vaults" VALUES('demo','5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','westeurope','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/podpass/providers/Microsoft.KeyVault/vaults/demo','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.keyvault/vaults/demo','ef14138a-595b-44eb-8f79-6adbaefc110b','rbac','[]',90,0,'{}',1700000000.0,'{}',NULL,NULL);
CREATE INDEX role_assignments_by_scope ON role_assignments (scope, name);
CREATE UNIQUE INDEX role_assignments_by_name ON role_assignments (name);
CREATE INDEX ix_app_role_assignments_resource_id ON app_role_assignments (resource_id);
CREATE INDEX ix_tenant_domains_tenant_id ON tenant_domains (tenant_id);
CREATE INDEX identities_by_name_key ON identities (tenant_id, name_key, client_id);
CREATE INDEX identities_by_kind ON identities (tenant_id, kind, client_id);
CREATE INDEX identities_by_name ON identities (tenant_id, name);
CREATE UNIQUE INDEX identities_by_application ON identities (application_id);
CREATE UNIQUE INDEX identities_by_unique_name ON identities (tenant_id, unique_name);
CREATE UNIQUE INDEX vaults_by_resource ON vaults (resource_key);
CREATE INDEX identifier_uris_by_client ON identifier_uris (tenant_id, client_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('audit_entries',7);
COMMIT;
