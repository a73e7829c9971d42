/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-nbd.h"

#include "listen.h"
#include "probe.h"
#include "qmp-export.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define END_TIMEOUT_US (10 * G_USEC_PER_SEC)
#define END_POLL_MS 200
#define STOP_TIMEOUT_MS 10000

/* --- names --- */

char *
bk_qmp_nbd_number (const char *id)
{
  const char *dot = strrchr (id, '.');
  if (dot == NULL || dot[1] == '\0' || strspn (dot + 1, "0123456789") != strlen (dot + 1))
    return NULL;
  return g_strdup (dot + 1);
}

/* "bkd-1a2b3c-" of "bkd-1a2b3c-42" */
static char *
instance_of (const BkRun *run)
{
  return g_strndup (run->prefix, (gsize)(strrchr (run->prefix, '-') + 1 - run->prefix));
}

static char *
socket_of (const BkRun *run, const char *number)
{
  g_autofree char *instance = instance_of (run);
  return g_strdup_printf ("%s/%s%s.nbd", run->export_folder, instance, number);
}

static char *
own_socket (const BkRun *run)
{
  return g_strdup_printf ("%s/%s.nbd", run->export_folder, run->prefix);
}

/* The sockets in the folder of servers that this QEMU may have, living or dead. A storage daemon is that of one run alone,
 * beside others of the VM. (transfer full) */
static GPtrArray *
all_sockets (const BkQmpBackend *self, const BkRun *run)
{
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);
  if (self->storage_daemon) {
    g_ptr_array_add (paths, own_socket (run));
    return paths;
  }
  g_autofree char *instance = instance_of (run);
  g_autoptr (GDir) folder = g_dir_open (run->export_folder, 0, NULL);
  const char *name = NULL;
  while (folder && (name = g_dir_read_name (folder)) != NULL)
    if (g_str_has_prefix (name, instance) && g_str_has_suffix (name, ".nbd"))
      g_ptr_array_add (paths, g_build_filename (run->export_folder, name, NULL));
  return paths;
}

char *
bk_qmp_nbd_export_id (const BkRun *run, const char *role, const BkRunDisk *disk)
{
  g_autofree char *name = bk_run_name (run, role, disk);
  g_autofree char *file = run->nbd_server ? g_path_get_basename (run->nbd_server) : g_strconcat (run->prefix, ".nbd", NULL);
  const char *number = strrchr (file, '-') + 1;
  return g_strdup_printf ("%s.%.*s", name, (int)strspn (number, "0123456789"), number);
}

/* --- begin --- */

static gboolean
check_folder (const char *folder, GError **error)
{
  struct stat info;
  if (g_mkdir_with_parents (folder, 0700) < 0 || stat (folder, &info) < 0)
    return bk_error_set_errno (error, errno, "cannot use the folder '%s' for exports", folder);
  if (info.st_uid == geteuid () && (info.st_mode & 077) == 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "the folder '%s' for exports can be entered by others; chmod 700, and chown it to the daemon's user", folder);
  return FALSE;
}

static void
take_server (BkRun *run, char *path)
{
  g_free (run->nbd_server);
  run->nbd_server = path;
}

static gboolean
start_server (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_autofree char *path = own_socket (run);
  g_autofree char *name = g_strconcat (run->prefix, "-nbd", NULL);
  if (self->storage_daemon) {
    take_server (run, g_strdup (path));
    return bk_qmp_nbd_server_start_at (self->client, path, cancellable, error);
  }
  int fd = bk_listen_unix (path, error);
  if (fd < 0)
    return FALSE;
  g_autoptr (GError) failure = NULL;
  gboolean ok = bk_qmp_nbd_server_start (self->client, fd, name, cancellable, &failure);
  close (fd);
  if (ok) {
    take_server (run, g_steal_pointer (&path));
    return TRUE;
  }
  if (!g_error_matches (failure, BK_ERROR, BK_ERROR_FAILED)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  g_unlink (path);
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT,
               "QEMU's only NBD server cannot be had (%s): another program exports disks of this VM; end that, or use mode push",
               failure->message);
  return FALSE;
}

/* What a crash has left between the begin of a server and its first export. Whether QEMU really has it shows when the
 * first export is read. */
static bool
adopt_server (const BkQmpBackend *self, BkRun *run)
{
  g_autoptr (GPtrArray) paths = all_sockets (self, run);
  for (unsigned i = 0; i < paths->len; i++) {
    if (!bk_probe_listener (paths->pdata[i]))
      continue;
    take_server (run, g_strdup (paths->pdata[i]));
    return true;
  }
  return false;
}

/* The socket of the server that @export is on, when we have it still. */
static char *
living_socket (const BkRun *run, const BkQmpExport *export)
{
  g_autofree char *instance = instance_of (run);
  g_autofree char *number = g_str_has_prefix (export->id, instance) ? bk_qmp_nbd_number (export->id) : NULL;
  g_autofree char *path = number ? socket_of (run, number) : NULL;
  return path && bk_probe_listener (path) ? g_steal_pointer (&path) : NULL;
}

gboolean
bk_qmp_nbd_ensure (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_autoptr (GPtrArray) exports = NULL;
  if (!check_folder (run->export_folder, error) || !bk_qmp_query_exports (self->client, &exports, cancellable, error))
    return FALSE;
  for (unsigned i = 0; i < exports->len; i++) {
    char *path = living_socket (run, exports->pdata[i]);
    if (path == NULL)
      continue;
    take_server (run, path);
    return TRUE;
  }
  return adopt_server (self, run) || start_server (self, run, cancellable, error);
}

/* --- end --- */

/* *@left: those of @run that are there still. */
static gboolean
push_exports_out (BkQmpBackend *self, const char *prefix, unsigned *left, GError **error)
{
  g_autoptr (GPtrArray) exports = NULL;
  if (!bk_qmp_query_exports (self->client, &exports, NULL, error))
    return FALSE;
  *left = 0;
  for (unsigned i = 0; i < exports->len; i++) {
    const BkQmpExport *export = exports->pdata[i];
    g_autoptr (GError) ignored = NULL;
    if (!g_str_has_prefix (export->id, prefix))
      continue;
    ++*left;
    if (!export->shutting_down && !bk_qmp_del_export (self->client, export->id, NULL, &ignored))
      g_debug ("%s: %s", export->id, ignored->message);
  }
  return TRUE;
}

static gboolean
end_exports (BkQmpBackend *self, const BkRun *run, GError **error)
{
  g_autofree char *prefix = g_strconcat (run->prefix, "-", NULL);
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (self->client, prefix);
  int64_t start = g_get_monotonic_time ();
  for (;;) {
    unsigned left = 0;
    if (!push_exports_out (self, prefix, &left, error))
      return FALSE;
    if (left == 0)
      return TRUE;
    if (g_get_monotonic_time () - start > END_TIMEOUT_US) {
      g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE,
                   "a reader of the exports of %s does not take QEMU's replies, so that they cannot be ended; end that reader (it is connected to '%s')",
                   run->prefix, run->nbd_server ? run->nbd_server : run->export_folder);
      return FALSE;
    }
    bk_qmp_watch_wait (watch, END_POLL_MS, NULL);
  }
}

static bool
has_nbd_export (GPtrArray *exports)
{
  for (unsigned i = 0; i < exports->len; i++)
    if (strcmp (((const BkQmpExport *)exports->pdata[i])->type, "nbd") == 0)
      return true;
  return false;
}

/* The socket of a server that has ended with its QEMU is only a name. One that listens may have been handed over to a
 * QEMU that was then not told to serve on it: it refuses to stop what does not run. */
static gboolean
stop_server_on (BkQmpBackend *self, const char *path, GError **error)
{
  g_autoptr (GError) failure = NULL;
  if (bk_probe_listener (path) && !bk_qmp_nbd_server_stop_within (self->client, STOP_TIMEOUT_MS, &failure) &&
      !g_error_matches (failure, BK_ERROR, BK_ERROR_FAILED)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  g_unlink (path);
  return TRUE;
}

static gboolean
stop_our_server (BkQmpBackend *self, const BkRun *run, GError **error)
{
  g_autoptr (GPtrArray) paths = all_sockets (self, run);
  for (unsigned i = 0; i < paths->len; i++)
    if (!stop_server_on (self, paths->pdata[i], error))
      return FALSE;
  return TRUE;
}

static gboolean
stop_unused_server (BkQmpBackend *self, const BkRun *run, GError **error)
{
  g_autoptr (GPtrArray) exports = NULL;
  if (!bk_qmp_query_exports (self->client, &exports, NULL, error))
    return FALSE;
  return has_nbd_export (exports) || stop_our_server (self, run, error);
}

gboolean
bk_qmp_nbd_end (BkQmpBackend *self, const BkRun *run, GError **error)
{
  return end_exports (self, run, error) && stop_unused_server (self, run, error);
}
