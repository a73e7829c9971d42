/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handlers.h"

static const char *const writable[] = { "name", "qmp", "libvirt", "domain", "agent", "classes", NULL };

static void
add_jobs (BkQueue *queue, BkVmInfo *vm)
{
  g_strfreev (vm->jobs);
  vm->jobs = bk_queue_jobs_of_vm (queue, vm->name);
}

void
bk_vms_list (BkExchange *exchange)
{
  const BkServices *services = bk_exchange_services (exchange);
  g_autoptr (GPtrArray) vms = bk_vm_registry_list (services->vms);
  for (unsigned i = 0; i < vms->len; i++)
    add_jobs (services->queue, vms->pdata[i]);
  bk_exchange_reply_list (exchange, &bk_vm_info_struct, vms, NULL);
}

static void
on_added (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkExchange) exchange = user_data;
  const BkServices *services = bk_exchange_services (exchange);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkVmInfo) request = bk_exchange_body_part (exchange, &bk_vm_info_struct, writable);
  g_autoptr (BkVmInfo) vm = NULL;
  if (bk_vm_registry_add_finish (services->vms, result, &error))
    vm = bk_vm_registry_info (services->vms, request->name, &error);
  if (vm == NULL) {
    bk_exchange_fail (exchange, error);
    return;
  }
  g_autofree char *location = g_strdup_printf ("/v1/vms/%s", vm->name);
  bk_exchange_add_header (exchange, "Location", location);
  bk_exchange_reply_struct (exchange, SOUP_STATUS_CREATED, &bk_vm_info_struct, vm);
}

void
bk_vms_add (BkExchange *exchange)
{
  const BkServices *services = bk_exchange_services (exchange);
  g_autoptr (BkVmInfo) request = bk_exchange_body_part (exchange, &bk_vm_info_struct, writable);
  if (request)
    bk_vm_registry_add_async (services->vms, request, on_added, bk_exchange_ref (exchange));
}

static void
on_discovered (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkExchange) exchange = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) domains = bk_vm_registry_discover_finish (bk_exchange_services (exchange)->vms, result, &error);
  if (domains)
    bk_exchange_reply_list (exchange, &bk_domain_info_struct, domains, NULL);
  else
    bk_exchange_fail (exchange, error);
}

void
bk_domains_list (BkExchange *exchange)
{
  const char *uri = bk_exchange_query (exchange, "libvirt");
  g_autoptr (GError) error = NULL;
  if (uri) {
    bk_vm_registry_discover_async (bk_exchange_services (exchange)->vms, uri, on_discovered, bk_exchange_ref (exchange));
    return;
  }
  g_set_error_literal (&error, BK_ERROR, BK_ERROR_INVALID, "libvirt: the URI whose domains are wanted must be given");
  bk_exchange_fail (exchange, error);
}

static void
on_shown (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkExchange) exchange = user_data;
  const BkServices *services = bk_exchange_services (exchange);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkVmInfo) vm = bk_vm_registry_show_finish (services->vms, result, &error);
  if (vm == NULL) {
    bk_exchange_fail (exchange, error);
    return;
  }
  add_jobs (services->queue, vm);
  bk_exchange_reply_struct (exchange, SOUP_STATUS_OK, &bk_vm_info_struct, vm);
}

void
bk_vm_show (BkExchange *exchange)
{
  bk_vm_registry_show_async (bk_exchange_services (exchange)->vms, bk_exchange_word (exchange, 0), on_shown,
                             bk_exchange_ref (exchange));
}

void
bk_vm_remove (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  if (bk_queue_remove_vm (bk_exchange_services (exchange)->queue, bk_exchange_word (exchange, 0), &error))
    bk_exchange_reply (exchange, SOUP_STATUS_NO_CONTENT, NULL);
  else
    bk_exchange_fail (exchange, error);
}
