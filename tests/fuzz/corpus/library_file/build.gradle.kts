build.gradle.kts
implementation("com.azure:azure-identity:1.8.0")