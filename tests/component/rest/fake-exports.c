/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Exports that are not there: each becomes ready a moment after it was begun, and has ended a moment after that was
 * asked for. One of the ID "nowhere" finds its VM unreachable, one of the ID "broken" fails instead of becoming ready.
 */
#include "fake-queue.h"

#include "ulid.h"

#include <string.h>

#define MOMENT_MS 50

typedef struct {
  BkQueue *queue;
  BkExportInfo *info;
  unsigned timer;
} Export;

void
fake_export_free (gpointer data)
{
  Export *export = data;
  g_clear_handle_id (&export->timer, g_source_remove);
  bk_export_info_free (export->info);
  g_free (export);
}

static BkExportInfo *
copy (const Export *export)
{
  return bk_struct_copy (&bk_export_info_struct, export->info);
}

static void
set_state (Export *export, const char *state)
{
  g_free (export->info->state);
  export->info->state = g_strdup (state);
  bk_event_ring_publish (export->queue->events, "export", export->info->vm, export->info->id,
                         bk_struct_to_json (&bk_export_info_struct, export->info));
}

static void
fail (Export *export)
{
  export->info->error = g_new0 (BkProblem, 1);
  export->info->error->code = g_strdup ("no-space");
  export->info->error->message = g_strdup ("scratch is full");
  set_state (export, "failed");
}

static void
open_disk (Export *export)
{
  BkExportDisk *disk = export->info->disks->pdata[0];
  disk->uri = g_strdup_printf ("nbd+unix:///%s?socket=/nowhere/nbd", disk->name);
  disk->export_name = g_strdup (disk->name);
  disk->size = 4096;
  export->info->point_in_time = g_get_real_time ();
  set_state (export, "ready");
}

static gboolean
on_moment (gpointer user_data)
{
  Export *export = user_data;
  export->timer = 0;
  if (g_str_equal (export->info->state, "ending"))
    set_state (export, "ended");
  else if (g_str_equal (export->info->id, "broken"))
    fail (export);
  else
    open_disk (export);
  return G_SOURCE_REMOVE;
}

static BkExportInfo *
info_of (const BkExportRequest *request)
{
  BkExportInfo *info = g_new0 (BkExportInfo, 1);
  BkExportDisk *disk = g_new0 (BkExportDisk, 1);
  disk->name = g_strdup ("vda");
  disk->level = g_strdup (request->since ? "differential" : "full");
  disk->dirty_context = request->since ? g_strdup ("qemu:dirty-bitmap:bkd-1") : NULL;
  info->id = request->id ? g_strdup (request->id) : bk_ulid_new ();
  info->vm = g_strdup (request->vm);
  info->created_at = g_get_real_time ();
  info->expires_at = info->created_at + (int64_t)(request->timeout_seconds ? request->timeout_seconds : 86400) * G_USEC_PER_SEC;
  info->disks = g_ptr_array_new ();
  g_ptr_array_add (info->disks, disk);
  return info;
}

static Export *
begin (BkQueue *queue, const BkExportRequest *request, GError **error)
{
  g_autoptr (BkVm) vm = bk_vm_registry_get (queue->vms, request->vm, error);
  if (vm == NULL)
    return NULL;
  if (g_strcmp0 (request->id, "nowhere") == 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "VM '%s' does not answer", request->vm);
    return NULL;
  }
  Export *export = g_new0 (Export, 1);
  export->queue = queue;
  export->info = info_of (request);
  export->timer = g_timeout_add (MOMENT_MS, on_moment, export);
  g_ptr_array_add (queue->exports, export);
  set_state (export, "beginning");
  return export;
}

void
bk_queue_begin_export_async (BkQueue *queue, const BkExportRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  GError *error = NULL;
  Export *export = begin (queue, request, &error);
  if (export)
    g_task_return_pointer (task, copy (export), (GDestroyNotify)bk_export_info_free);
  else
    g_task_return_error (task, error);
}

BkExportInfo *
bk_queue_begin_export_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

static Export *
find (BkQueue *queue, const char *id, GError **error)
{
  for (unsigned i = 0; i < queue->exports->len; i++)
    if (g_str_has_prefix (((Export *)queue->exports->pdata[i])->info->id, id))
      return queue->exports->pdata[i];
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "no export '%s'", id);
  return NULL;
}

static bool
is_over (const Export *export)
{
  return g_str_equal (export->info->state, "ended") || g_str_equal (export->info->state, "failed");
}

GPtrArray *
bk_queue_list_exports (BkQueue *queue, GError **error G_GNUC_UNUSED)
{
  GPtrArray *found = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_export_info_free);
  for (unsigned i = 0; i < queue->exports->len; i++)
    if (!is_over (queue->exports->pdata[i]))
      g_ptr_array_add (found, copy (queue->exports->pdata[i]));
  return found;
}

BkExportInfo *
bk_queue_get_export (BkQueue *queue, const char *id, GError **error)
{
  Export *export = find (queue, id, error);
  return export ? copy (export) : NULL;
}

BkExportInfo *
bk_queue_end_export (BkQueue *queue, const char *id, bool success, GError **error)
{
  Export *export = find (queue, id, error);
  if (export == NULL)
    return NULL;
  if (!g_str_equal (export->info->state, "ready")) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "export '%s' is %s: it can not be ended", export->info->id,
                 export->info->state);
    return NULL;
  }
  export->info->checkpoint_id = success ? g_strdup (export->info->id) : NULL;
  export->timer = g_timeout_add (MOMENT_MS, on_moment, export);
  set_state (export, "ending");
  return copy (export);
}
