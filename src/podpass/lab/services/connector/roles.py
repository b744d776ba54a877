"""Built-in roles of the services that connections lead to, with Azure's ids.

podpass assigns and shows them. It serves none of these services, so no action of them is checked.

Source: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
"""

from podpass.directory.model import RoleDefinition

_COSMOS = "Microsoft.DocumentDB/databaseAccounts"
_EVENTS = "Microsoft.EventHub"
_BUS = "Microsoft.ServiceBus"
_CONFIG = "Microsoft.AppConfiguration/configurationStores"
_AI = "Microsoft.CognitiveServices"

DOCUMENTDB_ACCOUNT_CONTRIBUTOR = "5bd9cd88-fe45-4216-938b-f97437e15450"
EVENT_HUBS_DATA_RECEIVER = "a638d3c7-ab3a-418d-83e6-5f17a39d4fde"
EVENT_HUBS_DATA_SENDER = "2b629674-e913-4c01-ae53-ef4638d8f975"
SERVICE_BUS_DATA_RECEIVER = "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0"
SERVICE_BUS_DATA_SENDER = "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39"
APP_CONFIGURATION_DATA_READER = "516239f1-63e1-4d78-a4de-a74fb236a071"
OPENAI_CONTRIBUTOR = "a001fd3d-188f-4b5d-821b-7da978bf7442"
COGNITIVE_SERVICES_USER = "a97b65f3-24c7-4388-baec-2e87135dc908"

SERVICE_ROLES = (
    RoleDefinition(
        id=DOCUMENTDB_ACCOUNT_CONTRIBUTOR,
        name="DocumentDB Account Contributor",
        description="Manages Cosmos DB accounts.",
        actions=(
            "Microsoft.Authorization/*/read",
            f"{_COSMOS}/*",
            "Microsoft.Insights/alertRules/*",
            "Microsoft.ResourceHealth/availabilityStatuses/read",
            "Microsoft.Resources/deployments/*",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Support/*",
        ),
    ),
    RoleDefinition(
        id=EVENT_HUBS_DATA_RECEIVER,
        name="Azure Event Hubs Data Receiver",
        description="Receives events.",
        actions=(f"{_EVENTS}/*/eventhubs/consumergroups/read",),
        data_actions=(f"{_EVENTS}/*/receive/action",),
    ),
    RoleDefinition(
        id=EVENT_HUBS_DATA_SENDER,
        name="Azure Event Hubs Data Sender",
        description="Sends events.",
        actions=(f"{_EVENTS}/*/eventhubs/read",),
        data_actions=(f"{_EVENTS}/*/send/action",),
    ),
    RoleDefinition(
        id=SERVICE_BUS_DATA_RECEIVER,
        name="Azure Service Bus Data Receiver",
        description="Receives messages from queues and subscriptions.",
        actions=(
            f"{_BUS}/*/queues/read",
            f"{_BUS}/*/topics/read",
            f"{_BUS}/*/topics/subscriptions/read",
        ),
        data_actions=(f"{_BUS}/*/receive/action",),
    ),
    RoleDefinition(
        id=SERVICE_BUS_DATA_SENDER,
        name="Azure Service Bus Data Sender",
        description="Sends messages to queues and topics.",
        actions=(
            f"{_BUS}/*/queues/read",
            f"{_BUS}/*/topics/read",
            f"{_BUS}/*/topics/subscriptions/read",
        ),
        data_actions=(f"{_BUS}/*/send/action",),
    ),
    RoleDefinition(
        id=APP_CONFIGURATION_DATA_READER,
        name="App Configuration Data Reader",
        description="Reads the settings of configuration stores.",
        data_actions=(f"{_CONFIG}/*/read",),
    ),
    RoleDefinition(
        id=OPENAI_CONTRIBUTOR,
        name="Cognitive Services OpenAI Contributor",
        description="Uses, deploys and fine-tunes models of Azure OpenAI.",
        actions=(
            f"{_AI}/*/read",
            f"{_AI}/accounts/deployments/write",
            f"{_AI}/accounts/deployments/delete",
            f"{_AI}/accounts/raiPolicies/read",
            f"{_AI}/accounts/raiPolicies/write",
            f"{_AI}/accounts/raiPolicies/delete",
            "Microsoft.Authorization/roleAssignments/read",
            "Microsoft.Authorization/roleDefinitions/read",
        ),
        data_actions=(f"{_AI}/accounts/OpenAI/*",),
    ),
    RoleDefinition(
        id=COGNITIVE_SERVICES_USER,
        name="Cognitive Services User",
        description="Uses Azure AI services, and lists their keys.",
        actions=(
            f"{_AI}/*/read",
            f"{_AI}/accounts/listkeys/action",
            "Microsoft.Insights/alertRules/read",
            "Microsoft.Insights/diagnosticSettings/read",
            "Microsoft.Insights/logDefinitions/read",
            "Microsoft.Insights/metricdefinitions/read",
            "Microsoft.Insights/metrics/read",
            "Microsoft.ResourceHealth/availabilityStatuses/read",
            "Microsoft.Resources/deployments/operations/read",
            "Microsoft.Resources/subscriptions/operationresults/read",
            "Microsoft.Resources/subscriptions/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Support/*",
        ),
        data_actions=(f"{_AI}/*",),
    ),
)
