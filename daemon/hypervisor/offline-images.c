/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The images of a VM that is shut off, and the storage daemons that read them.
 */
#include "offline-private.h"

#include "background.h"
#include "fsio.h"
#include "image-watch.h"
#include "listen.h"
#include "pid.h"
#include "recorded-disks.h"
#include "storage-daemon.h"

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of a storage daemon that listens already. */
#define CONNECT_TIMEOUT_MS 10000
/* The session that looks at the disks; one at a time. */
#define LOOK "look"
/* A QEMU that ends closes its monitor first, and its images after it has written all. */
#define CLOSE_TIMEOUT_US (10 * G_USEC_PER_SEC)
#define CLOSE_POLL_US 100000

/* --- sessions --- */

static char *
path_of (BkOfflineBackend *self, const char *session, const char *ending)
{
  return g_strdup_printf ("%s/%s-sd.%s", self->folder, session, ending);
}

static gboolean
start_daemon (BkOfflineBackend *self, const char *name, GError **error)
{
  g_autofree char *socket = path_of (self, name, "sock");
  g_autofree char *pid_file = path_of (self, name, "pid");
  g_autofree char *log = path_of (self, name, "log");
  char *argv[] = { (char *)"--chardev", (char *)"socket,id=qmp,server=on,wait=off,fd=" G_STRINGIFY (BK_STORAGE_DAEMON_FD), (char *)"--monitor",
                   (char *)"chardev=qmp", NULL };
  BkStorageDaemon wanted = { .argv = argv, .pid_file = pid_file, .log = log, .purpose = "reads the images of a VM that is shut off" };
  if (!bk_fsio_make_folder (self->folder, error))
    return FALSE;
  wanted.fd = bk_listen_unix (socket, error);
  if (wanted.fd < 0)
    return FALSE;
  gboolean ok = bk_storage_daemon_start (&wanted, error);
  close (wanted.fd);
  return ok;
}

typedef struct {
  const char *socket;
  BkBackend *session;
} Connection;

static void
connect_on_main (gpointer data)
{
  Connection *connection = data;
  connection->session = bk_qmp_backend_new (connection->socket);
  ((BkQmpBackend *)connection->session)->storage_daemon = true;
  bk_backend_connect (connection->session);
}

static void
disconnect_on_main (gpointer data)
{
  bk_backend_disconnect (data);
  bk_backend_free (data);
}

char *
bk_offline_writing_name (BkOfflineBackend *self)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);
  return g_strdup_printf ("write-%u", self->writings++);
}

static BkQmpBackend *
find_session (BkOfflineBackend *self, const char *name)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);
  return g_hash_table_lookup (self->sessions, name);
}

static BkQmpBackend *
take_session (BkOfflineBackend *self, const char *name)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);
  gpointer session = NULL;
  g_autofree char *key = NULL;
  g_hash_table_steal_extended (self->sessions, name, (gpointer *)&key, &session);
  return session;
}

static BkQmpBackend *
connect_session (BkOfflineBackend *self, const char *name, GCancellable *cancellable, GError **error)
{
  g_autofree char *socket = path_of (self, name, "sock");
  Connection connection = { .socket = socket };
  bk_main_call (connect_on_main, &connection);
  BkQmpBackend *session = (BkQmpBackend *)connection.session;
  g_mutex_lock (&self->lock);
  g_hash_table_insert (self->sessions, g_strdup (name), session);
  g_mutex_unlock (&self->lock);
  if (bk_qmp_client_wait_ready (session->client, CONNECT_TIMEOUT_MS, cancellable, error))
    return session;
  bk_offline_session_end (self, name, false);
  return NULL;
}

BkQmpBackend *
bk_offline_session_start (BkOfflineBackend *self, const char *name, GCancellable *cancellable, GError **error)
{
  bk_offline_session_end (self, name, false); /* of a daemon that was killed before it knew */
  return start_daemon (self, name, error) ? connect_session (self, name, cancellable, error) : NULL;
}

BkQmpBackend *
bk_offline_session (BkOfflineBackend *self, const char *name, GCancellable *cancellable, GError **error)
{
  g_autofree char *pid_file = path_of (self, name, "pid");
  if (bk_storage_daemon_runs (pid_file)) {
    BkQmpBackend *session = find_session (self, name);
    return session ? session : connect_session (self, name, cancellable, error);
  }
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "qemu-storage-daemon, which read the images of the VM that was shut off, has ended");
  return NULL;
}

void
bk_offline_session_end (BkOfflineBackend *self, const char *name, bool cleanly)
{
  static const char *const endings[] = { "sock", "pid", "log" };
  g_autofree char *pid_file = path_of (self, name, "pid");
  BkQmpBackend *session = take_session (self, name);
  bk_storage_daemon_end (pid_file, cleanly);
  if (session)
    bk_main_call (disconnect_on_main, session);
  for (size_t i = 0; i < G_N_ELEMENTS (endings); i++) {
    g_autofree char *path = path_of (self, name, endings[i]);
    g_unlink (path);
  }
}

void
bk_offline_end_look (BkOfflineBackend *self)
{
  g_autofree char *pid_file = path_of (self, LOOK, "pid");
  if (g_file_test (pid_file, G_FILE_TEST_EXISTS))
    bk_storage_daemon_end (pid_file, false);
}

void
bk_offline_sessions_leave (BkOfflineBackend *self)
{
  GHashTableIter iter;
  gpointer session = NULL;
  g_hash_table_iter_init (&iter, self->sessions);
  while (g_hash_table_iter_next (&iter, NULL, &session))
    disconnect_on_main (session);
  g_hash_table_remove_all (self->sessions);
}

/* --- images --- */

static BkQmpImage
image_of (const char *node, const char *format, const char *path)
{
  struct stat info;
  bool bare = strcmp (format, "file") == 0 || strcmp (format, "host_device") == 0; /* the guest has it without a format */
  BkQmpImage image = { .node = node, .format = bare ? "raw" : format, .path = path };
  image.device = stat (path, &info) == 0 && S_ISBLK (info.st_mode);
  return image;
}

gboolean
bk_offline_open (BkQmpBackend *session, const char *node, const char *format, const char *path, GCancellable *cancellable, GError **error)
{
  BkQmpImage image = image_of (node, format, path);
  return bk_qmp_add_image (session->client, &image, cancellable, error);
}

static void
set_refusal (GError **error, const char *path, const GError *failure)
{
  if (strstr (failure->message, "Failed to get") != NULL) /* ... "write" lock */
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "image '%s' is in use: the VM was started, or another program works on it", path);
  else
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot write bitmaps into image '%s': %s", path, failure->message);
}

gboolean
bk_offline_write (BkOfflineBackend *self, BkQmpBackend *session, const char *node, const char *format, const char *path, json_object *actions,
                  GError **error)
{
  BkQmpImage image = image_of (node, format, path);
  image.writable = true;
  BkQmpCall calls[] = { bk_qmp_call_add_image (&image), bk_qmp_call_transaction (actions), bk_qmp_call_del_node (node) };
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->images);
  int64_t before = g_get_monotonic_time ();
  gboolean ok = bk_qmp_client_call_all (session->client, calls, G_N_ELEMENTS (calls), 0, NULL, error);
  g_debug ("image '%s' was locked for %" G_GINT64_FORMAT " us", path, g_get_monotonic_time () - before);
  for (size_t i = 0; i < G_N_ELEMENTS (calls); i++) {
    if (ok && calls[i].error) {
      set_refusal (error, path, calls[i].error);
      ok = FALSE;
    }
    bk_qmp_call_clear (&calls[i]);
  }
  return ok;
}

/* --- looking at the disks --- */

static gboolean
wait_until_closed (const char *path, bool *written, GCancellable *cancellable, GError **error)
{
  int64_t deadline = g_get_monotonic_time () + CLOSE_TIMEOUT_US;
  do {
    if (!bk_image_is_written (path, written, error))
      return FALSE;
    if (*written)
      g_usleep (CLOSE_POLL_US);
  } while (*written && g_get_monotonic_time () < deadline && !g_cancellable_is_cancelled (cancellable));
  return TRUE;
}

/* An image that is gone or locked up is that disk's own trouble. */
static gboolean
check_not_written (BkDisk *disk, const GError *why, GCancellable *cancellable, GError **error)
{
  bool written = false;
  g_autoptr (GError) failure = NULL;
  if (!wait_until_closed (disk->path, &written, cancellable, &failure)) {
    disk->no_access = g_strdup (failure->message);
    return TRUE;
  }
  if (!written)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE,
               "%s; and the VM is not shut off, or another program uses its disk '%s': image '%s' is open for writing", why->message, disk->name, disk->path);
  return FALSE;
}

static gboolean
check_shut_off (GPtrArray *disks, const GError *why, GCancellable *cancellable, GError **error)
{
  for (unsigned i = 0; i < disks->len; i++) {
    BkDisk *disk = disks->pdata[i];
    if (disk->empty)
      continue;
    if (disk->path == NULL)
      disk->no_access = g_strdup_printf ("its image '%s' is no file or device of this machine", disk->file);
    else if (!check_not_written (disk, why, cancellable, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
read_disk (BkQmpBackend *session, const char *node, BkDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) nodes = NULL;
  if (!bk_offline_open (session, node, disk->format, disk->path, cancellable, error) || !bk_qmp_query_nodes (session->client, &nodes, cancellable, error) ||
      !bk_block_graph_reread (nodes, node, disk, error))
    return FALSE;
  if (access (disk->path, W_OK) == 0 || !disk->can_persist)
    return TRUE;
  disk->can_persist = false;
  disk->why_not = g_strdup_printf ("backupd may not write to image '%s'", disk->path);
  return TRUE;
}

static gboolean
read_disks (BkQmpBackend *session, GPtrArray *disks, GCancellable *cancellable, GError **error)
{
  for (unsigned i = 0; i < disks->len; i++) {
    BkDisk *disk = disks->pdata[i];
    g_autofree char *node = g_strdup_printf (LOOK "-%u", i);
    g_autoptr (GError) failure = NULL;
    if (disk->empty || disk->no_access || read_disk (session, node, disk, cancellable, &failure))
      continue;
    if (!g_error_matches (failure, BK_ERROR, BK_ERROR_FAILED)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    disk->no_access = g_strdup (failure->message);
  }
  return TRUE;
}

static BkRecordedDisks *
read_record (BkOfflineBackend *self, const GError *why, GError **error)
{
  g_mutex_lock (&self->lock);
  g_autoptr (json_object) recorded = self->recorded ? json_object_get (self->recorded) : NULL;
  g_mutex_unlock (&self->lock);
  if (recorded)
    return bk_recorded_disks_read (recorded, error);
  g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "%s; it was never seen running, so that its disks are not known", why->message);
  return NULL;
}

/* Its locks tell the same, where it takes any; and a socket may have been removed, and QEMU be there still. */
static gboolean
check_ended (const BkRecordedDisks *recorded, const GError *why, GCancellable *cancellable, GError **error)
{
  int64_t deadline = g_get_monotonic_time () + CLOSE_TIMEOUT_US;
  while (recorded->process && bk_pid_still_runs (recorded->process)) {
    if (g_get_monotonic_time () > deadline || g_cancellable_is_cancelled (cancellable)) {
      g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "%s; but the VM is not shut off: its QEMU (process %d) still runs", why->message,
                   atoi (recorded->process));
      return FALSE;
    }
    g_usleep (CLOSE_POLL_US);
  }
  return TRUE;
}

static BkVmState *
look (BkOfflineBackend *self, BkRecordedDisks *recorded, GCancellable *cancellable, GError **error)
{
  BkQmpBackend *session = bk_offline_session_start (self, LOOK, cancellable, error);
  if (session == NULL || !read_disks (session, recorded->disks, cancellable, error))
    return NULL;
  BkVmState *state = g_new0 (BkVmState, 1);
  state->status = g_strdup ("shut off");
  state->version = bk_qmp_client_version (session->client);
  state->offline = state->snapshot_push = state->pull = true;
  state->recorded_at = recorded->recorded_at;
  state->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_disk_free);
  for (unsigned i = 0; i < recorded->disks->len; i++)
    g_ptr_array_add (state->disks, g_steal_pointer (&recorded->disks->pdata[i]));
  return state;
}

BkVmState *
bk_offline_look (BkOfflineBackend *self, const GError *why, GCancellable *cancellable, GError **error)
{
  g_autoptr (BkRecordedDisks) recorded = read_record (self, why, error);
  if (recorded == NULL || !check_ended (recorded, why, cancellable, error) || !check_shut_off (recorded->disks, why, cancellable, error))
    return NULL;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->images);
  BkVmState *state = look (self, recorded, cancellable, error);
  bk_offline_session_end (self, LOOK, false);
  return state;
}
