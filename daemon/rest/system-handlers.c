/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bk-openapi.h"
#include "handlers.h"

static const BkField bk_health_fields[] = {
  { "status", BK_FIELD_STRING, offsetof (BkHealth, status), BK_FIELD_REQUIRED, NULL, NULL },
  { "version", BK_FIELD_STRING, offsetof (BkHealth, version), BK_FIELD_REQUIRED, NULL, NULL },
  { "api", BK_FIELD_STRING, offsetof (BkHealth, api), BK_FIELD_REQUIRED, NULL, NULL },
  { NULL, BK_FIELD_STRING, 0, 0, NULL, NULL },
};
const BkStruct bk_health_struct = { "health", sizeof (BkHealth), bk_health_fields };

/* That it is answered at all is the news: the main loop runs. */
void
bk_health_show (BkExchange *exchange)
{
  g_autoptr (BkHealth) health = g_new0 (BkHealth, 1);
  health->status = g_strdup ("ok");
  health->version = g_strdup (BK_VERSION);
  health->api = g_strdup ("v1");
  bk_exchange_reply_struct (exchange, SOUP_STATUS_OK, &bk_health_struct, health);
}

void
bk_openapi_show (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = g_resource_lookup_data (bk_openapi_get_resource (), "/backupd/openapi.json",
                                                      G_RESOURCE_LOOKUP_FLAGS_NONE, &error);
  if (bytes)
    bk_exchange_reply_bytes (exchange, bytes);
  else
    bk_exchange_fail (exchange, error);
}
