/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handlers.h"
#include "request-check.h"

void
bk_serves_list (BkExchange *exchange)
{
  g_autoptr (GPtrArray) serves = bk_serve_registry_list (bk_exchange_services (exchange)->serves);
  bk_exchange_reply_list (exchange, &bk_serve_info_struct, serves, NULL);
}

static void
on_started (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkExchange) exchange = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkServeInfo) serve = bk_serve_registry_start_finish (bk_exchange_services (exchange)->serves, result, &error);
  if (serve == NULL) {
    bk_exchange_fail (exchange, error);
    return;
  }
  g_autofree char *location = g_strdup_printf ("/v1/serves/%s", serve->id);
  bk_exchange_add_header (exchange, "Location", location);
  bk_exchange_reply_struct (exchange, SOUP_STATUS_CREATED, &bk_serve_info_struct, serve);
}

void
bk_serves_start (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkServeRequest) request = bk_exchange_body_struct (exchange, &bk_serve_request_struct);
  if (request == NULL)
    return;
  if (bk_request_check_listen (request->listen, &error))
    bk_serve_registry_start_async (bk_exchange_services (exchange)->serves, request, on_started, bk_exchange_ref (exchange));
  else
    bk_exchange_fail (exchange, error);
}

void
bk_serve_show (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkServeInfo) serve = bk_serve_registry_get (bk_exchange_services (exchange)->serves,
                                                         bk_exchange_word (exchange, 0), &error);
  if (serve)
    bk_exchange_reply_struct (exchange, SOUP_STATUS_OK, &bk_serve_info_struct, serve);
  else
    bk_exchange_fail (exchange, error);
}

void
bk_serve_stop (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  if (bk_serve_registry_stop (bk_exchange_services (exchange)->serves, bk_exchange_word (exchange, 0), &error))
    bk_exchange_reply (exchange, SOUP_STATUS_NO_CONTENT, NULL);
  else
    bk_exchange_fail (exchange, error);
}
