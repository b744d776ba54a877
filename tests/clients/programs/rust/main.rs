// Reads a secret; prints it, or the error. VAULT_URL is the vault.
use azure_core::http::{ClientOptions, RetryOptions};
use azure_identity::{
    ClientAssertionCredentialOptions, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};

fn once() -> ClientOptions {
    ClientOptions {
        retry: RetryOptions::none(),
        ..Default::default()
    }
}

async fn read() -> azure_core::Result<String> {
    let credential = WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
        credential_options: ClientAssertionCredentialOptions {
            client_options: once(),
        },
        ..Default::default()
    }))?;
    let options = SecretClientOptions {
        client_options: once(),
        ..Default::default()
    };
    let vault = std::env::var("VAULT_URL").unwrap_or_default();
    let client = SecretClient::new(&vault, credential, Some(options))?;
    let secret = client.get_secret("greeting", None).await?.into_model()?;
    Ok(secret.value.unwrap_or_default())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match read().await {
        Ok(secret) => println!("{{\"secret\": \"{secret}\"}}"),
        Err(error) => println!("{error}\n{error:?}"),
    }
}
