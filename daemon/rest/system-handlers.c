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

static void
on_diagnosed (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkExchange) exchange = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkDiagnosis) diagnosis = bk_doctor_run_finish (bk_exchange_services (exchange)->doctor, result, &error);
  if (diagnosis)
    bk_exchange_reply_struct (exchange, SOUP_STATUS_OK, &bk_diagnosis_struct, diagnosis);
  else
    bk_exchange_fail (exchange, error);
}

void
bk_doctor_show (BkExchange *exchange)
{
  bk_doctor_run_async (bk_exchange_services (exchange)->doctor, bk_exchange_query (exchange, "vm"), on_diagnosed, bk_exchange_ref (exchange));
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
