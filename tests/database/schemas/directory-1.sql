BEGIN TRANSACTION;
CREATE TABLE federated_credentials (
    tenant_id VARCHAR NOT NULL,
    client_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    issuer VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    audience VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    PRIMARY KEY (tenant_id, client_id, name),
    FOREIGN KEY(tenant_id, client_id) REFERENCES identities (tenant_id, client_id) ON DELETE CASCADE,
    UNIQUE (tenant_id, client_id, issuer, subject)
);
INSERT INTO "federated_credentials" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000001','web','https://issuer.example/','subject','api://x','');
CREATE TABLE identities (
    tenant_id VARCHAR NOT NULL,
    client_id VARCHAR NOT NULL,
    object_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    resource_id VARCHAR,
    resource_key VARCHAR,
    enabled BOOLEAN NOT NULL,
    PRIMARY KEY (tenant_id, client_id),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    UNIQUE (object_id),
    UNIQUE (resource_key)
);
INSERT INTO "identities" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000001','22222222-aaaa-4bbb-8ccc-000000000001','Web','managed-identity','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.managedidentity/userassignedidentities/web',1);
INSERT INTO "identities" VALUES('5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','11111111-aaaa-4bbb-8ccc-000000000002','11111111-aaaa-4bbb-8ccc-000000000002','An App','application',NULL,NULL,0);
CREATE TABLE role_assignments (
    principal_id VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    PRIMARY KEY (principal_id, scope, role)
);
INSERT INTO "role_assignments" VALUES('22222222-aaaa-4bbb-8ccc-000000000001','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourcegroups/podpass/providers/microsoft.keyvault/vaults/demo','4633458b-17de-408a-b874-0445c86b69e6');
CREATE TABLE schema_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1);
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
CREATE TABLE vaults (
    name VARCHAR NOT NULL,
    tenant_id VARCHAR NOT NULL,
    location VARCHAR NOT NULL,
    resource_id VARCHAR NOT NULL,
    PRIMARY KEY (name),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    UNIQUE (resource_id)
);
INSERT INTO "vaults" VALUES('demo','5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0','westeurope','/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/podpass/providers/Microsoft.KeyVault/vaults/demo');
CREATE INDEX ix_tenant_domains_tenant_id ON tenant_domains (tenant_id);
CREATE INDEX identities_by_name ON identities (tenant_id, name);
COMMIT;
