/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handlers.h"

void
bk_repositories_list (BkExchange *exchange)
{
  g_autoptr (GPtrArray) repositories = bk_repository_registry_list (bk_exchange_services (exchange)->repositories);
  bk_exchange_reply_list (exchange, &bk_repository_info_struct, repositories, NULL);
}

/* Answers with the repository @name as it is now. */
static void
reply_repository (BkExchange *exchange, unsigned status, const char *name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRepositoryInfo) repository =
      bk_repository_registry_info (bk_exchange_services (exchange)->repositories, name, &error);
  if (repository)
    bk_exchange_reply_struct (exchange, status, &bk_repository_info_struct, repository);
  else
    bk_exchange_fail (exchange, error);
}

void
bk_repositories_add (BkExchange *exchange)
{
  static const char *const writable[] = { "name", "type", "path", NULL };
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRepositoryInfo) request = bk_exchange_body_part (exchange, &bk_repository_info_struct, writable);
  if (request == NULL)
    return;
  if (!bk_repository_registry_add (bk_exchange_services (exchange)->repositories, request, &error)) {
    bk_exchange_fail (exchange, error);
    return;
  }
  g_autofree char *location = g_strdup_printf ("/v1/repositories/%s", request->name);
  bk_exchange_add_header (exchange, "Location", location);
  reply_repository (exchange, SOUP_STATUS_CREATED, request->name);
}

void
bk_repository_show (BkExchange *exchange)
{
  reply_repository (exchange, SOUP_STATUS_OK, bk_exchange_word (exchange, 0));
}

void
bk_repository_remove (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  if (bk_queue_remove_repository (bk_exchange_services (exchange)->queue, bk_exchange_word (exchange, 0), &error))
    bk_exchange_reply (exchange, SOUP_STATUS_NO_CONTENT, NULL);
  else
    bk_exchange_fail (exchange, error);
}
