/* SPDX-License-Identifier: BSD-3-Clause */
#include "classes.h"

#include <string.h>

static const struct class_facts classes[] = {
    {"32412632-86cb-44a2-9b5c-50d1417354f5", "IDE", "hv_storvsc", LAYER_VSTOR, false},
    {"ba6163d9-04a1-4d29-b605-72e2ffb1dc7f", "SCSI", "hv_storvsc", LAYER_VSTOR, true},
    {"2f9bcc4a-0069-4af3-b76b-6fd0be528cda", "Fibre Channel", "hv_storvsc", LAYER_VSTOR, false},
    {"f8615163-df3e-46c5-913f-f2d2f965ed0e", "network", "hv_netvsc", LAYER_NVSP, true},
    {"8c2eaf3d-32a7-4b09-ab99-bd1f1c86b501", "RDMA", NULL, LAYER_NONE, false},
    {"44c4f61d-4444-4400-9d52-802e27ede19f", "PCI pass-through", "hv_pci", LAYER_NONE, true},
    {"da0a7802-e377-4aac-8e77-0558eb1073f8", "video", "hyperv_drm", LAYER_NONE, false},
    {"f912ad6d-2b17-48ea-bd65-f927a61c7684", "keyboard", "hyperv_keyboard", LAYER_NONE, false},
    {"cfa8b69e-5b4a-4cc0-b98b-8ba1a1f3f95a", "mouse", "hid_hyperv", LAYER_NONE, false},
    {"a9a0f4e7-5a45-4d96-b827-8a841e8c03e6", "key-value pairs", "hv_utils", LAYER_NONE, false},
    {"9527e630-d0ae-497b-adce-e80ab0175caf", "time sync", "hv_utils", LAYER_NONE, true},
    {"57164f39-9115-4e78-ab55-382f3bd5422d", "heartbeat", "hv_utils", LAYER_NONE, true},
    {"0e0b6031-5213-4934-818b-38d90ced39db", "shutdown", "hv_utils", LAYER_NONE, true},
    {"34d14be3-dee4-41c8-9ae7-6b174977c192", "file copy", NULL, LAYER_NONE, false},
    {"35fa2e29-ea23-4236-96ae-3a6ebacba440", "backup", "hv_utils", LAYER_NONE, false},
    {"525074dc-8985-46e2-8057-a307dc18a502", "balloon", "hv_balloon", LAYER_NONE, false},
    {"f8e65716-3cb3-4a06-9a60-1889c5cccab5", "activation 1", NULL, LAYER_NONE, false},
    {"3375baf4-9e15-4b30-b765-67acb10d607b", "activation 2", NULL, LAYER_NONE, false},
    {"276aacf4-ac15-426c-98dd-7521ad3f01fe", "remote desktop", NULL, LAYER_NONE, false},
    {"c376c1c3-d276-48d2-90a9-c04748072c60", "machine configuration", NULL, LAYER_NONE, false},
    {"8dedd1aa-9056-49e4-bfd6-1bf90dc38ef0", "guest emulation", NULL, LAYER_NONE, false},
    {"8b60ccf6-709f-4c11-90b5-229c959a9e6a", "serial port", NULL, LAYER_NONE, false},
};
static const struct class_facts unknown = {"", "unknown", NULL, LAYER_NONE, false};

const struct class_facts *class_find(const struct hv_guid *id)
{
    char text[HV_GUID_TEXT_BYTES];

    hv_guid_format(id, text);
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (!strcmp(text, classes[i].id))
            return &classes[i];
    return &unknown;
}
