/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handlers.h"

void
bk_checkpoints_list (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) checkpoints = bk_queue_list_checkpoints (bk_exchange_services (exchange)->queue,
                                                                 bk_exchange_query (exchange, "vm"), &error);
  if (checkpoints)
    bk_exchange_reply_list (exchange, &bk_checkpoint_info_struct, checkpoints, NULL);
  else
    bk_exchange_fail (exchange, error);
}

static void
on_created (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkExchange) exchange = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCheckpointInfo) checkpoint =
      bk_queue_create_checkpoint_finish (bk_exchange_services (exchange)->queue, result, &error);
  if (checkpoint)
    bk_exchange_reply_struct (exchange, SOUP_STATUS_CREATED, &bk_checkpoint_info_struct, checkpoint);
  else
    bk_exchange_fail (exchange, error);
}

void
bk_checkpoints_create (BkExchange *exchange)
{
  g_autoptr (BkCheckpointRequest) request = bk_exchange_body_struct (exchange, &bk_checkpoint_request_struct);
  if (request)
    bk_queue_create_checkpoint_async (bk_exchange_services (exchange)->queue, request, on_created,
                                      bk_exchange_ref (exchange));
}

static void
on_deleted (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkExchange) exchange = user_data;
  g_autoptr (GError) error = NULL;
  if (bk_queue_delete_checkpoint_finish (bk_exchange_services (exchange)->queue, result, &error))
    bk_exchange_reply (exchange, SOUP_STATUS_NO_CONTENT, NULL);
  else
    bk_exchange_fail (exchange, error);
}

void
bk_checkpoint_delete (BkExchange *exchange)
{
  bk_queue_delete_checkpoint_async (bk_exchange_services (exchange)->queue, bk_exchange_word (exchange, 0), on_deleted,
                                    bk_exchange_ref (exchange));
}
