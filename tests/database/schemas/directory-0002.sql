BEGIN TRANSACTION;
CREATE TABLE alembic_version_directory (
    version_num TEXT NOT NULL,
    PRIMARY KEY (version_num)
) STRICT;
INSERT INTO "alembic_version_directory" VALUES('0002');
CREATE TABLE app_role_assignments (
    id TEXT NOT NULL,
    principal_id TEXT NOT NULL,
    principal_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    app_role_id TEXT NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (principal_id, resource_id, app_role_id)
) STRICT;
INSERT INTO "app_role_assignments" VALUES('88888888-aaaa-4bbb-8ccc-000000000001','22222222-aaaa-4bbb-8ccc-000000000001','ServicePrincipal','11111111-aaaa-4bbb-8ccc-000000000002','99999999-aaaa-4bbb-8ccc-000000000001',1.0);
CREATE TABLE audit_entries (
    serial INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    time REAL DEFAULT '0' NOT NULL,
    actor TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    details TEXT DEFAULT '{}' NOT NULL
) STRICT;
INSERT INTO "audit_entries" VALUES(1,1700000000.0,'','podpass','microsoft.directory/organization/create','5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','','{}');
INSERT INTO "audit_entries" VALUES(2,1700000000.0,'','podpass','Microsoft.ManagedIdentity/userAssignedIdentities/write','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web','','{}');
INSERT INTO "audit_entries" VALUES(3,1700000000.0,'','podpass','Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web/federatedIdentityCredentials/web','','{}');
INSERT INTO "audit_entries" VALUES(4,1700000000.0,'','podpass','microsoft.directory/applications/create','44444444-aaaa-4bbb-8ccc-000000000001','','{}');
INSERT INTO "audit_entries" VALUES(5,1700000000.0,'','podpass','microsoft.directory/servicePrincipals/create','11111111-aaaa-4bbb-8ccc-000000000002','','{}');
INSERT INTO "audit_entries" VALUES(6,1700000000.0,'','podpass','Microsoft.KeyVault/vaults/write','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/podpass/providers/Microsoft.KeyVault/vaults/demo','','{}');
INSERT INTO "audit_entries" VALUES(7,1700000000.0,'','podpass','Microsoft.Authorization/roleAssignments/write','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.keyvault/vaults/demo/providers/Microsoft.Authorization/roleAssignments/55555555-aaaa-4bbb-8ccc-000000000001','','{"role":"Reader","principal":"p"}');
CREATE TABLE clusters (
    resource_key TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    "group" TEXT NOT NULL,
    name TEXT NOT NULL,
    location TEXT NOT NULL,
    tags TEXT DEFAULT '{}' NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    document TEXT DEFAULT '{}' NOT NULL,
    PRIMARY KEY (resource_key)
) STRICT;
INSERT INTO "clusters" VALUES('/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/c','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/podpass/c','0b1f6471-1bf0-4dda-aec3-cb9272f09590','podpass','c','eastus','{}',1.0,'{}');
CREATE TABLE federated_credentials (
    tenant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    name TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    audience TEXT NOT NULL,
    description TEXT NOT NULL,
    id TEXT DEFAULT '' NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    is_flexible INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (tenant_id, client_id, name),
    FOREIGN KEY(tenant_id, client_id) REFERENCES identities (tenant_id, client_id) ON DELETE CASCADE,
    UNIQUE (tenant_id, client_id, issuer, subject)
) STRICT;
INSERT INTO "federated_credentials" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000001','web','https://issuer.example/','subject','api://x','','33333333-aaaa-4bbb-8ccc-000000000001',1700000000.0,0);
INSERT INTO "federated_credentials" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000001','pipeline','https://app.terraform.io','claims[''sub''] matches ''organization:a:*''','api://x','','33333333-aaaa-4bbb-8ccc-000000000002',1700000000.0,1);
CREATE TABLE identifier_uris (
    tenant_id TEXT NOT NULL,
    uri_key TEXT NOT NULL,
    client_id TEXT NOT NULL,
    place INTEGER NOT NULL,
    uri TEXT NOT NULL,
    PRIMARY KEY (tenant_id, uri_key),
    FOREIGN KEY(tenant_id, client_id) REFERENCES identities (tenant_id, client_id) ON DELETE CASCADE
) STRICT;
INSERT INTO "identifier_uris" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','api://one','11111111-aaaa-4bbb-8ccc-000000000002',0,'api://one');
CREATE TABLE identities (
    tenant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    object_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    resource_id TEXT,
    resource_key TEXT,
    enabled INTEGER NOT NULL,
    application_id TEXT,
    unique_name TEXT,
    name_key TEXT DEFAULT '' NOT NULL,
    has_principal INTEGER DEFAULT 1 NOT NULL,
    location TEXT DEFAULT '' NOT NULL,
    tags TEXT DEFAULT '{}' NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    document TEXT DEFAULT '{}' NOT NULL,
    principal TEXT DEFAULT '{}' NOT NULL,
    PRIMARY KEY (tenant_id, client_id),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    UNIQUE (object_id),
    UNIQUE (resource_key)
) STRICT;
INSERT INTO "identities" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000001','22222222-aaaa-4bbb-8ccc-000000000001','Web','managed-identity','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.managedidentity/userassignedidentities/web',1,NULL,NULL,'web',1,'westeurope','{"a":"b"}',1700000000.0,'{}','{}');
INSERT INTO "identities" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000002','11111111-aaaa-4bbb-8ccc-000000000002','An App','application',NULL,NULL,0,'44444444-aaaa-4bbb-8ccc-000000000001',NULL,'an app',1,'','{}',1700000000.0,'{}','{}');
CREATE TABLE key_credentials (
    tenant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    display_name TEXT NOT NULL,
    certificate BLOB NOT NULL,
    thumbprint TEXT NOT NULL,
    begins REAL DEFAULT '0' NOT NULL,
    expires REAL DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant_id, client_id, key_id),
    FOREIGN KEY(tenant_id, client_id) REFERENCES identities (tenant_id, client_id) ON DELETE CASCADE
) STRICT;
INSERT INTO "key_credentials" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000002','k2','c',X'3082','ab',1.5,2.5);
CREATE TABLE linkers (
    resource_key TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    name TEXT NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    document TEXT DEFAULT '{}' NOT NULL,
    PRIMARY KEY (resource_key)
) STRICT;
INSERT INTO "linkers" VALUES('/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.containerservice/managedclusters/c/providers/microsoft.servicelinker/linkers/kv','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/podpass/providers/Microsoft.ContainerService/managedClusters/c/providers/Microsoft.ServiceLinker/linkers/kv','kv',1.0,'{}');
CREATE TABLE other_resources (
    resource_key TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    location TEXT NOT NULL,
    tags TEXT DEFAULT '{}' NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    document TEXT DEFAULT '{}' NOT NULL,
    PRIMARY KEY (resource_key)
) STRICT;
INSERT INTO "other_resources" VALUES('/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.storage/storageaccounts/acc','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/podpass/providers/Microsoft.Storage/storageAccounts/acc','Microsoft.Storage/storageAccounts','acc','eastus','{}',1.0,'{}');
INSERT INTO "other_resources" VALUES('/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.network/dnszones/example.test','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/podpass/providers/Microsoft.Network/dnsZones/example.test','Microsoft.Network/dnsZones','example.test','global','{}',1.0,'{}');
CREATE TABLE dns_record_sets (
    zone_key TEXT NOT NULL,
    name_key TEXT NOT NULL,
    type TEXT NOT NULL,
    zone_id TEXT NOT NULL,
    name TEXT NOT NULL,
    ttl INTEGER NOT NULL,
    document TEXT DEFAULT '{}' NOT NULL,
    PRIMARY KEY (zone_key, name_key, type),
    FOREIGN KEY(zone_key) REFERENCES other_resources (resource_key) ON DELETE CASCADE
) STRICT;
INSERT INTO "dns_record_sets" VALUES('/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.network/dnszones/example.test','_acme-challenge.www','TXT','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/podpass/providers/Microsoft.Network/dnsZones/example.test','_acme-challenge.www',60,'{"records":[["one"]],"metadata":{}}');
CREATE TABLE password_credentials (
    tenant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    display_name TEXT NOT NULL,
    hint TEXT NOT NULL,
    digest BLOB NOT NULL,
    begins REAL DEFAULT '0' NOT NULL,
    expires REAL DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant_id, client_id, key_id),
    FOREIGN KEY(tenant_id, client_id) REFERENCES identities (tenant_id, client_id) ON DELETE CASCADE
) STRICT;
INSERT INTO "password_credentials" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000002','k1','p','abc',X'0001FF',1.0,2.0);
CREATE TABLE permission_grants (
    id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    principal_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (client_id, resource_id, tenant_id, principal_id),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
) STRICT;
INSERT INTO "permission_grants" VALUES('IiIiIqqqS7uMzAAAAAAAAQAAAAAAAAAAAAAAAAAAAAE','5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000002','77777777-aaaa-4bbb-8ccc-000000000001','','User.Read',1700000000.0);
CREATE TABLE resource_groups (
    subscription_id TEXT NOT NULL,
    name_key TEXT NOT NULL,
    name TEXT NOT NULL,
    location TEXT NOT NULL,
    tags TEXT DEFAULT '{}' NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    PRIMARY KEY (subscription_id, name_key)
) STRICT;
INSERT INTO "resource_groups" VALUES('0b1f6471-1bf0-4dda-aec3-cb9272f09590','podpass','podpass','eastus','{}',1700000000.0);
CREATE TABLE role_assignments (
    principal_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    role TEXT NOT NULL,
    name TEXT,
    principal_type TEXT DEFAULT 'ServicePrincipal' NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    created_by TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (principal_id, scope, role)
) STRICT;
INSERT INTO "role_assignments" VALUES('22222222-aaaa-4bbb-8ccc-000000000001','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.keyvault/vaults/demo','acdd72a7-3385-48ef-bd42-f606fba81ae7','55555555-aaaa-4bbb-8ccc-000000000001','ServicePrincipal','',1700000000.0,'');
CREATE TABLE role_definitions (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    document TEXT DEFAULT '{}' NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name_key)
) STRICT;
INSERT INTO "role_definitions" VALUES('77777777-aaaa-4bbb-8ccc-000000000001','Own','own','d','{"actions": []}',1.0);
CREATE TABLE tenant_domains (
    domain TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    PRIMARY KEY (domain),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
) STRICT;
INSERT INTO "tenant_domains" VALUES('contoso.example','5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0');
CREATE TABLE tenants (
    id TEXT NOT NULL,
    display_name TEXT NOT NULL,
    PRIMARY KEY (id)
) STRICT;
INSERT INTO "tenants" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','Contoso');
CREATE TABLE users (
    id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    display_name TEXT DEFAULT '' NOT NULL,
    password TEXT DEFAULT '' NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (tenant_id, name_key),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
) STRICT;
INSERT INTO "users" VALUES('66666666-aaaa-4bbb-8ccc-000000000001','5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','Ann@contoso.example','ann@contoso.example','Ann','$scrypt$x',1.25);
CREATE TABLE vaults (
    name TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    location TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    resource_key TEXT,
    uid TEXT DEFAULT '' NOT NULL,
    access TEXT DEFAULT 'rbac' NOT NULL,
    policies TEXT DEFAULT '[]' NOT NULL,
    retention_days INTEGER DEFAULT '90' NOT NULL,
    purge_protection INTEGER DEFAULT 0 NOT NULL,
    tags TEXT DEFAULT '{}' NOT NULL,
    created REAL DEFAULT '0' NOT NULL,
    document TEXT DEFAULT '{}' NOT NULL,
    deleted REAL,
    purge_on REAL,
    PRIMARY KEY (name),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    UNIQUE (resource_id)
) STRICT;
INSERT INTO "vaults" VALUES('demo','5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','westeurope','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/podpass/providers/Microsoft.KeyVault/vaults/demo','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.keyvault/vaults/demo','ef14138a-595b-44eb-8f79-6adbaefc110b','rbac','[]',90,0,'{}',1700000000.0,'{}',NULL,NULL);
CREATE INDEX ix_tenant_domains_tenant_id ON tenant_domains (tenant_id);
CREATE INDEX ix_app_role_assignments_resource_id ON app_role_assignments (resource_id);
CREATE INDEX identities_by_name ON identities (tenant_id, name);
CREATE UNIQUE INDEX identities_by_application ON identities (application_id);
CREATE UNIQUE INDEX identities_by_unique_name ON identities (tenant_id, unique_name);
CREATE INDEX identities_by_name_key ON identities (tenant_id, name_key, client_id);
CREATE INDEX identities_by_resource ON identities (tenant_id, resource_key);
CREATE INDEX identities_by_kind ON identities (tenant_id, kind, client_id);
CREATE INDEX identifier_uris_by_client ON identifier_uris (tenant_id, client_id);
CREATE UNIQUE INDEX vaults_by_resource ON vaults (resource_key);
CREATE INDEX other_resources_by_name ON other_resources (type, name);
CREATE UNIQUE INDEX role_assignments_by_name ON role_assignments (name);
CREATE INDEX role_assignments_by_scope ON role_assignments (scope, name);
CREATE INDEX ix_permission_grants_resource_id ON permission_grants (resource_id);
CREATE INDEX permission_grants_by_tenant ON permission_grants (tenant_id, id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('audit_entries',7);
COMMIT;
