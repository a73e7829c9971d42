/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which it is: the VM's own backend is asked first, always. Only when nothing answers there, and nobody has an image open
 * for writing, is the VM shut off.
 */
#include "offline-private.h"

#include "background.h"
#include "recorded-disks.h"

#include <glib/gstdio.h>

/* That the same disks were seen again is worth a write now and then. */
#define RECORD_US (10 * 60 * G_USEC_PER_SEC)

static BkOfflineBackend *
self_of (BkBackend *backend)
{
  return (BkOfflineBackend *)backend;
}

/* --- life --- */

static void
forward (BkBackend *vm G_GNUC_UNUSED, BkLink link, const char *event, gpointer user_data)
{
  BkBackend *backend = user_data;
  if (backend->notify)
    backend->notify (backend, link, event, backend->notify_data);
}

static void
offline_connect (BkBackend *backend)
{
  bk_backend_set_notify (self_of (backend)->vm, forward, backend);
  bk_backend_connect (self_of (backend)->vm);
}

static void
offline_disconnect (BkBackend *backend)
{
  bk_backend_set_notify (self_of (backend)->vm, NULL, NULL);
  bk_backend_disconnect (self_of (backend)->vm);
  bk_offline_end_look (self_of (backend));
}

static void
offline_free (BkBackend *backend)
{
  BkOfflineBackend *self = self_of (backend);
  bk_offline_sessions_leave (self);
  bk_backend_free (self->vm);
  g_hash_table_unref (self->sessions);
  g_clear_pointer (&self->recorded, json_object_put);
  g_mutex_clear (&self->images);
  g_mutex_clear (&self->lock);
  g_free (self->folder);
  g_free (self);
}

static BkLink
offline_link (BkBackend *backend, char **reason, char **version)
{
  return bk_backend_link (self_of (backend)->vm, reason, version);
}

static bool
offline_is_off (BkBackend *backend)
{
  return bk_backend_is_off (self_of (backend)->vm);
}

/* @failure: of the VM's own backend. */
static bool
may_be_off (BkOfflineBackend *self, const GError *failure)
{
  return g_error_matches (failure, BK_ERROR, BK_ERROR_UNREACHABLE) && bk_backend_is_off (self->vm);
}

/* --- inspect --- */

typedef struct {
  BkOfflineBackend *self;
  json_object *recorded;
} Recording;

static void
record_on_main (gpointer data)
{
  Recording *recording = data;
  recording->self->record (recording->recorded, recording->self->record_data);
}

static bool
is_news (BkOfflineBackend *self, json_object *recorded, int64_t now)
{
  g_autoptr (BkRecordedDisks) before = self->recorded ? bk_recorded_disks_read (self->recorded, NULL) : NULL;
  return before == NULL || !bk_recorded_disks_equal (self->recorded, recorded) || now - before->recorded_at > RECORD_US;
}

static void
record (BkOfflineBackend *self, const BkVmState *state)
{
  int64_t now = g_get_real_time ();
  Recording recording = { self, bk_recorded_disks_write (state->disks, state->process, now) };
  g_mutex_lock (&self->lock);
  bool news = is_news (self, recording.recorded, now);
  if (news) {
    g_clear_pointer (&self->recorded, json_object_put);
    self->recorded = json_object_get (recording.recorded);
  }
  g_mutex_unlock (&self->lock);
  if (news)
    bk_main_call (record_on_main, &recording);
  json_object_put (recording.recorded);
}

static BkVmState *
offline_inspect (BkBackend *backend, GCancellable *cancellable, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  g_autoptr (GError) failure = NULL;
  BkVmState *state = bk_backend_inspect (self->vm, cancellable, &failure);
  if (state) {
    record (self, state);
    return state;
  }
  if (may_be_off (self, failure))
    return bk_offline_look (self, failure, cancellable, error);
  g_propagate_error (error, g_steal_pointer (&failure));
  return NULL;
}

/* --- runs --- */

static gboolean
offline_prepare (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  return run->offline ? bk_offline_prepare (self, run, cancellable, error) : bk_backend_prepare (self->vm, run, cancellable, error);
}

static gboolean
offline_snapshot (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  return run->offline ? bk_offline_snapshot (self, run, cancellable, error) : bk_backend_snapshot (self->vm, run, cancellable, error);
}

static gboolean
offline_start (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  return run->offline ? bk_offline_start (self, run, cancellable, error) : bk_backend_start (self->vm, run, cancellable, error);
}

static gboolean
offline_wait (BkBackend *backend, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  return run->offline ? bk_offline_wait (self, run, timeout_ms, done, cancellable, error)
                      : bk_backend_wait (self->vm, run, timeout_ms, done, cancellable, error);
}

static gboolean
offline_try_scratch (BkBackend *backend, const char *folder, bool *tried, GError **error)
{
  return bk_backend_try_scratch (self_of (backend)->vm, folder, tried, error);
}

static gboolean
offline_pause (BkBackend *backend, BkRun *run, bool pause, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  return run->offline ? bk_offline_pause (self, run, pause, error) : bk_backend_pause (self->vm, run, pause, error);
}

static gboolean
offline_set_speed (BkBackend *backend, BkRun *run, uint64_t speed, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  return run->offline ? bk_offline_set_speed (self, run, speed, error) : bk_backend_set_speed (self->vm, run, speed, error);
}

static gboolean
offline_close (BkBackend *backend, BkRun *run, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  return run->offline ? bk_offline_close (self, run, error) : bk_backend_close (self->vm, run, error);
}

static gboolean
offline_export (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  return run->offline ? bk_offline_export (self, run, cancellable, error) : bk_backend_export (self->vm, run, cancellable, error);
}

static gboolean
offline_check_frozen (BkBackend *backend, BkRun *run, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  return run->offline ? bk_offline_check_frozen (self, run, error) : bk_backend_check_frozen (self->vm, run, error);
}

/* --- the way back: a VM may have been started or ended since --- */

/* What was in its QEMU has gone with it, but for the name of its socket. */
static gboolean
release_without_vm (BkOfflineBackend *self, const BkRun *run, const GError *why, GError **error)
{
  g_autoptr (BkVmState) state = bk_offline_look (self, why, NULL, error);
  if (state && run->nbd_server)
    g_unlink (run->nbd_server);
  return state != NULL;
}

static gboolean
offline_release (BkBackend *backend, BkRun *run, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  g_autoptr (GError) failure = NULL;
  if (run->offline)
    return bk_offline_release (self, run, error);
  if (bk_backend_release (self->vm, run, &failure))
    return TRUE;
  if (may_be_off (self, failure))
    return release_without_vm (self, run, failure, error);
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

static gboolean
offline_rollback (BkBackend *backend, BkRun *run, bool all, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  g_autoptr (GError) failure = NULL;
  if (bk_backend_rollback (self->vm, run, all, &failure))
    return TRUE;
  if (may_be_off (self, failure))
    return bk_offline_rollback (self, run, all, error);
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

/* --- checkpoints --- */

static gboolean
offline_checkpoint_create (BkBackend *backend, BkRun *run, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  return run->offline ? bk_offline_checkpoint_create (self, run, error) : bk_backend_checkpoint_create (self->vm, run, error);
}

static gboolean
offline_checkpoint_delete (BkBackend *backend, const char *disk, const char *bitmap, const char *parent, bool newest, bool *merged, GError **error)
{
  BkOfflineBackend *self = self_of (backend);
  g_autoptr (GError) failure = NULL;
  if (bk_backend_checkpoint_delete (self->vm, disk, bitmap, parent, newest, merged, &failure))
    return TRUE;
  if (may_be_off (self, failure))
    return bk_offline_checkpoint_delete (self, disk, bitmap, parent, newest, merged, error);
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

static const BkBackendOps offline_ops = {
  .name = "offline",
  .connect = offline_connect,
  .disconnect = offline_disconnect,
  .free = offline_free,
  .link = offline_link,
  .is_off = offline_is_off,
  .inspect = offline_inspect,
  .try_scratch = offline_try_scratch,
  .prepare = offline_prepare,
  .snapshot = offline_snapshot,
  .start = offline_start,
  .wait = offline_wait,
  .pause = offline_pause,
  .set_speed = offline_set_speed,
  .close = offline_close,
  .export = offline_export,
  .check_frozen = offline_check_frozen,
  .release = offline_release,
  .rollback = offline_rollback,
  .checkpoint_create = offline_checkpoint_create,
  .checkpoint_delete = offline_checkpoint_delete,
};

BkBackend *
bk_offline_backend_new (BkBackend *vm, const char *folder, json_object *recorded, BkRecordDisks record_disks, gpointer user_data)
{
  BkOfflineBackend *self = g_new0 (BkOfflineBackend, 1);
  self->base.ops = &offline_ops;
  self->vm = vm;
  self->folder = g_strdup (folder);
  self->recorded = recorded ? json_object_get (recorded) : NULL;
  self->record = record_disks;
  self->record_data = user_data;
  self->sessions = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_mutex_init (&self->images);
  g_mutex_init (&self->lock);
  return &self->base;
}
