/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handlers.h"
#include "request-check.h"

/* A forgotten export holds back scratch space: nobody reads for longer than a month. */
#define MAX_TIMEOUT (31 * 86400)

/* Answers with @export, or with @error when it is NULL. */
static void
reply_export (BkExchange *exchange, unsigned status, const BkExportInfo *export, const GError *error)
{
  if (export == NULL) {
    bk_exchange_fail (exchange, error);
    return;
  }
  g_autofree char *location = g_strdup_printf ("/v1/exports/%s", export->id);
  if (status == SOUP_STATUS_ACCEPTED)
    bk_exchange_add_header (exchange, "Location", location);
  bk_exchange_reply_struct (exchange, status, &bk_export_info_struct, export);
}

void
bk_exports_list (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) exports = bk_queue_list_exports (bk_exchange_services (exchange)->queue, &error);
  if (exports)
    bk_exchange_reply_list (exchange, &bk_export_info_struct, exports, NULL);
  else
    bk_exchange_fail (exchange, error);
}

static void
on_begun (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkExchange) exchange = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkExportInfo) export = bk_queue_begin_export_finish (bk_exchange_services (exchange)->queue, result, &error);
  reply_export (exchange, SOUP_STATUS_ACCEPTED, export, error);
}

static gboolean
check_request (const BkExportRequest *request, GError **error)
{
  if (request->timeout_seconds > MAX_TIMEOUT) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/timeout_seconds: must be %d (31 days) at most", MAX_TIMEOUT);
    return FALSE;
  }
  return bk_request_check_id (request->id, error) && bk_request_check_path ("tls", request->tls, error) &&
         bk_request_check_listen (request->listen, error);
}

void
bk_exports_begin (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkExportRequest) request = bk_exchange_body_struct (exchange, &bk_export_request_struct);
  if (request == NULL)
    return;
  if (check_request (request, &error))
    bk_queue_begin_export_async (bk_exchange_services (exchange)->queue, request, on_begun, bk_exchange_ref (exchange));
  else
    bk_exchange_fail (exchange, error);
}

void
bk_export_show (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkExportInfo) export = bk_queue_get_export (bk_exchange_services (exchange)->queue,
                                                         bk_exchange_word (exchange, 0), &error);
  reply_export (exchange, SOUP_STATUS_OK, export, error);
}

void
bk_export_end (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkExportEnd) request = bk_exchange_body_struct (exchange, &bk_export_end_struct);
  if (request == NULL)
    return;
  g_autoptr (BkExportInfo) export = bk_queue_end_export (bk_exchange_services (exchange)->queue, bk_exchange_word (exchange, 0),
                                                         g_str_equal (request->result, "success"), &error);
  reply_export (exchange, SOUP_STATUS_ACCEPTED, export, error);
}
