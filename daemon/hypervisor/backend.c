/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backend.h"

/* In every wrapper: an operation that reports failure has said why, and one that succeeded has not. */
static gboolean
checked (gboolean ok, GError **error)
{
  g_assert (error == NULL || ok == (*error == NULL));
  return ok;
}

static bool
is_cancelled (GCancellable *cancellable, GError **error)
{
  if (!g_cancellable_is_cancelled (cancellable))
    return false;
  g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
  return true;
}

/* What is not planned cannot be undone: names must be ours, and disks told apart. */
static void
assert_run (const BkRun *run)
{
  g_assert (run->prefix != NULL && g_str_has_prefix (run->prefix, "bkd-"));
  g_assert (run->disks != NULL && run->disks->len > 0);
  for (guint i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = g_ptr_array_index (run->disks, i);
    g_assert (disk->name != NULL && disk->node != NULL);
    for (guint j = 0; j < i; j++)
      g_assert (((const BkRunDisk *)g_ptr_array_index (run->disks, j))->index != disk->index);
  }
}

static bool
is_direct (const BkRun *run)
{
  return g_strcmp0 (run->mode, "push-direct") == 0;
}

static unsigned
disks_in_state (const BkRun *run, const char *state)
{
  unsigned count = 0;
  for (guint i = 0; i < run->disks->len; i++)
    count += g_strcmp0 (((const BkRunDisk *)g_ptr_array_index (run->disks, i))->state, state) == 0;
  return count;
}

void
bk_vm_state_free (BkVmState *state)
{
  if (state == NULL)
    return;
  g_free (state->status);
  g_free (state->version);
  g_free (state->process);
  g_free (state->no_pull);
  g_free (state->no_snapshot_push);
  g_free (state->obstacle);
  g_free (state->domain);
  g_clear_pointer (&state->disks, g_ptr_array_unref);
  g_free (state);
}

void
bk_backend_set_notify (BkBackend *backend, BkBackendNotify notify, gpointer user_data)
{
  backend->notify = notify;
  backend->notify_data = user_data;
}

void
bk_backend_connect (BkBackend *backend)
{
  backend->ops->connect (backend);
}

void
bk_backend_disconnect (BkBackend *backend)
{
  backend->ops->disconnect (backend);
}

void
bk_backend_free (BkBackend *backend)
{
  if (backend != NULL)
    backend->ops->free (backend);
}

BkLink
bk_backend_link (BkBackend *backend, char **reason, char **version)
{
  g_assert (backend->ops->link != NULL);
  char *ignored_reason = NULL, *ignored_version = NULL;
  BkLink link = backend->ops->link (backend, reason ? reason : &ignored_reason, version ? version : &ignored_version);
  g_free (ignored_reason);
  g_free (ignored_version);
  return link;
}

bool
bk_backend_has_one_job (const BkBackend *backend)
{
  return backend->ops->one_job;
}

void
bk_backend_recall (BkBackend *backend, GPtrArray *checkpoints)
{
  if (backend->ops->recall)
    backend->ops->recall (backend, checkpoints);
}

bool
bk_backend_is_off (BkBackend *backend)
{
  return backend->ops->is_off != NULL && backend->ops->is_off (backend);
}

BkVmState *
bk_backend_inspect (BkBackend *backend, GCancellable *cancellable, GError **error)
{
  g_assert (backend->ops->inspect != NULL);
  if (is_cancelled (cancellable, error))
    return NULL;
  BkVmState *state = backend->ops->inspect (backend, cancellable, error);
  checked (state != NULL, error);
  g_assert (state == NULL || (state->status != NULL && state->disks != NULL));
  return state;
}

void
bk_vm_part_free (BkVmPart *part)
{
  g_free (part->name);
  g_bytes_unref (part->content);
  g_free (part);
}

GPtrArray *
bk_backend_describe (BkBackend *backend, GError **error)
{
  if (backend->ops->describe == NULL)
    return g_ptr_array_new_with_free_func ((GDestroyNotify)bk_vm_part_free);
  GPtrArray *parts = backend->ops->describe (backend, error);
  checked (parts != NULL, error);
  return parts;
}

gboolean
bk_backend_try_scratch (BkBackend *backend, const char *folder, bool *tried, GError **error)
{
  g_assert (folder != NULL);
  *tried = false;
  if (backend->ops->try_scratch == NULL || bk_backend_is_off (backend))
    return TRUE;
  return checked (backend->ops->try_scratch (backend, folder, tried, error), error);
}

gboolean
bk_backend_prepare (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_assert (backend->ops->prepare != NULL);
  assert_run (run);
  g_assert (run->point_in_time == 0);
  for (guint i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = g_ptr_array_index (run->disks, i);
    bool increment = g_strcmp0 (disk->sync, "bitmap") == 0;
    g_assert (increment == (disk->base_bitmaps != NULL && disk->base_bitmaps[0] != NULL));
  }
  return !is_cancelled (cancellable, error) &&
         checked (backend->ops->prepare (backend, run, cancellable, error), error);
}

gboolean
bk_backend_snapshot (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_assert (backend->ops->snapshot != NULL);
  assert_run (run);
  g_assert (run->point_in_time == 0);
  if (is_cancelled (cancellable, error) || !checked (backend->ops->snapshot (backend, run, cancellable, error), error))
    return FALSE;
  g_assert (is_direct (run) || run->point_in_time != 0);
  return TRUE;
}

gboolean
bk_backend_start (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_assert (backend->ops->start != NULL);
  assert_run (run);
  g_assert (is_direct (run) || run->point_in_time != 0);
  if (is_cancelled (cancellable, error) || !checked (backend->ops->start (backend, run, cancellable, error), error))
    return FALSE;
  g_assert (run->point_in_time != 0 && disks_in_state (run, "failed") < run->disks->len);
  return TRUE;
}

gboolean
bk_backend_wait (BkBackend *backend, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable,
                 GError **error)
{
  g_assert (backend->ops->wait != NULL);
  assert_run (run);
  g_assert (run->point_in_time != 0);
  *done = false;
  if (is_cancelled (cancellable, error) ||
      !checked (backend->ops->wait (backend, run, timeout_ms, done, cancellable, error), error))
    return FALSE;
  g_assert (*done == (disks_in_state (run, "running") == 0));
  return TRUE;
}

gboolean
bk_backend_pause (BkBackend *backend, BkRun *run, bool pause, GError **error)
{
  g_assert (backend->ops->pause != NULL);
  assert_run (run);
  return checked (backend->ops->pause (backend, run, pause, error), error);
}

gboolean
bk_backend_set_speed (BkBackend *backend, BkRun *run, uint64_t speed, GError **error)
{
  g_assert (backend->ops->set_speed != NULL);
  assert_run (run);
  return checked (backend->ops->set_speed (backend, run, speed, error), error);
}

gboolean
bk_backend_close (BkBackend *backend, BkRun *run, GError **error)
{
  g_assert (backend->ops->close != NULL);
  assert_run (run);
  g_assert (disks_in_state (run, "running") == 0);
  return checked (backend->ops->close (backend, run, error), error);
}

static void
assert_exported (const BkRun *run)
{
  g_assert (run->nbd_address != NULL);
  for (guint i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = g_ptr_array_index (run->disks, i);
    bool increment = g_strcmp0 (disk->sync, "bitmap") == 0;
    if (bk_run_disk_has_failed (disk))
      continue;
    g_assert ((disk->export_name == NULL) == (disk->frozen_path != NULL));
    g_assert (increment == (disk->dirty_context != NULL));
    g_assert (disk->frozen_path == NULL || increment == (disk->map_export != NULL));
  }
}

gboolean
bk_backend_export (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_assert (backend->ops->export != NULL);
  assert_run (run);
  g_assert (bk_run_is_pull (run) && run->point_in_time != 0 && run->export_folder != NULL);
  if (is_cancelled (cancellable, error) || !checked (backend->ops->export (backend, run, cancellable, error), error))
    return FALSE;
  g_assert (disks_in_state (run, "failed") < run->disks->len);
  assert_exported (run);
  return TRUE;
}

gboolean
bk_backend_check_frozen (BkBackend *backend, BkRun *run, GError **error)
{
  g_assert (backend->ops->check_frozen != NULL);
  assert_run (run);
  g_assert (bk_run_is_pull (run) && run->point_in_time != 0);
  assert_exported (run);
  return checked (backend->ops->check_frozen (backend, run, error), error);
}

/* release and rollback serve recovery too, where a run may be in any state. */
gboolean
bk_backend_release (BkBackend *backend, BkRun *run, GError **error)
{
  g_assert (backend->ops->release != NULL);
  assert_run (run);
  return checked (backend->ops->release (backend, run, error), error);
}

gboolean
bk_backend_rollback (BkBackend *backend, BkRun *run, bool all, GError **error)
{
  g_assert (backend->ops->rollback != NULL);
  assert_run (run);
  return checked (backend->ops->rollback (backend, run, all, error), error);
}

gboolean
bk_backend_checkpoint_create (BkBackend *backend, BkRun *run, GError **error)
{
  g_assert (backend->ops->checkpoint_create != NULL);
  assert_run (run);
  return checked (backend->ops->checkpoint_create (backend, run, error), error);
}

gboolean
bk_backend_checkpoint_delete (BkBackend *backend, const char *disk, const char *bitmap, const char *parent, bool newest, bool *merged,
                              GError **error)
{
  g_assert (backend->ops->checkpoint_delete != NULL);
  g_assert (disk != NULL && bitmap != NULL && g_strcmp0 (bitmap, parent) != 0);
  return checked (backend->ops->checkpoint_delete (backend, disk, bitmap, parent, newest, merged, error), error);
}
