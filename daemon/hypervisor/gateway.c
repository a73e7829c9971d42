/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway.h"

#include "bk-json.h"
#include "listen.h"
#include "pid.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROGRAM "qemu-storage-daemon"
#define LISTEN_FD 3
#define START_TIMEOUT_US (15 * G_USEC_PER_SEC)
#define END_TIMEOUT_US (5 * G_USEC_PER_SEC)
#define POLL_US 5000
/* Readers who come and go badly leave a line each. */
#define LOG_LIMIT 65536

/* --- names --- */

static char *
path_of (const BkRun *run, const char *ending)
{
  return g_strdup_printf ("%s/%s-gw.%s", run->export_folder, run->prefix, ending);
}

char *
bk_gateway_map_path (const BkRun *run, const BkRunDisk *disk)
{
  g_autofree char *name = bk_run_name (run, "m", disk);
  return g_strdup_printf ("%s/%s.qcow2", run->export_folder, name);
}

void
bk_gateway_source_clear (BkGatewaySource *source)
{
  g_clear_pointer (&source->export, g_free);
  g_clear_pointer (&source->file, g_free);
  g_clear_pointer (&source->map, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (BkGatewaySource, bk_gateway_source_clear)

BkGatewaySource
bk_gateway_source (const BkRun *run, const BkRunDisk *disk)
{
  BkGatewaySource source = { 0 };
  g_autofree char *name = bk_run_name (run, "x", disk);
  if (disk->canary_path) /* it is in an iothread */
    source.file = g_strdup_printf ("%s/%s.img", run->export_folder, name);
  else
    source.export = g_steal_pointer (&name);
  if (strcmp (disk->sync, "bitmap") == 0)
    source.map = bk_gateway_map_path (run, disk);
  return source;
}

/* --- arguments --- */

static json_object *
object (const char *member, const char *value)
{
  json_object *json = json_object_new_object ();
  json_object_object_add (json, member, json_object_new_string (value));
  return json;
}

static void
set (json_object *json, const char *member, const char *value)
{
  json_object_object_add (json, member, json_object_new_string (value));
}

/* @json: (transfer full) */
static void
add_option (GStrvBuilder *argv, const char *option, json_object *json)
{
  g_strv_builder_add_many (argv, option, json_object_to_json_string_ext (json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), NULL);
  json_object_put (json);
}

static json_object *
node (const char *driver, const char *name)
{
  json_object *json = object ("driver", driver);
  set (json, "node-name", name);
  json_object_object_add (json, "read-only", json_object_new_boolean (true));
  return json;
}

static json_object *
file_node (const char *name, const char *path)
{
  json_object *json = node ("file", name);
  set (json, "filename", path);
  set (json, "locking", "off"); /* a FUSE file has none */
  return json;
}

static void
add_source_node (GStrvBuilder *argv, const BkRun *run, const BkGatewaySource *source, const char *name)
{
  if (source->file) {
    add_option (argv, "--blockdev", file_node (name, source->file));
    return;
  }
  json_object *server = object ("type", "unix");
  set (server, "path", run->nbd_server);
  json_object *nbd = node ("nbd", name);
  json_object_object_add (nbd, "server", server);
  set (nbd, "export", source->export);
  json_object_object_add (nbd, "open-timeout", json_object_new_int (10));
  add_option (argv, "--blockdev", nbd);
}

static void
add_map_node (GStrvBuilder *argv, const BkGatewaySource *source, const char *name)
{
  g_autofree char *file = g_strconcat (name, "-file", NULL);
  json_object *map = node ("qcow2", name);
  add_option (argv, "--blockdev", file_node (file, source->map));
  set (map, "file", file);
  json_object_object_add (map, "backing", NULL);
  add_option (argv, "--blockdev", map);
}

static void
add_disk (GStrvBuilder *argv, const BkRun *run, const BkRunDisk *disk)
{
  g_auto (BkGatewaySource) source = bk_gateway_source (run, disk);
  g_autofree char *name = g_strdup_printf ("d%u", (unsigned)disk->index);
  g_autofree char *map = g_strdup_printf ("m%u", (unsigned)disk->index);
  g_autofree char *bitmap = bk_run_name (run, "inc", NULL);
  add_source_node (argv, run, &source, name);
  json_object *export = object ("type", "nbd");
  set (export, "id", name);
  set (export, "node-name", name);
  set (export, "name", disk->name);
  if (source.map) {
    add_map_node (argv, &source, map);
    json_object *entry = object ("node", map);
    set (entry, "name", bitmap);
    json_object *bitmaps = json_object_new_array ();
    json_object_array_add (bitmaps, entry);
    json_object_object_add (export, "bitmaps", bitmaps);
  }
  add_option (argv, "--export", export);
}

static void
add_server (GStrvBuilder *argv, const BkRun *run)
{
  static const char credentials[] = "tls";
  json_object *server = json_object_new_object ();
  json_object *address = object ("type", "fd");
  set (address, "str", G_STRINGIFY (LISTEN_FD));
  json_object_object_add (server, "addr", address);
  if (run->nbd_tls) {
    bool x509 = strcmp (run->nbd_tls, "x509") == 0;
    json_object *tls = object ("qom-type", x509 ? "tls-creds-x509" : "tls-creds-psk");
    set (tls, "id", credentials);
    set (tls, "endpoint", "server");
    set (tls, "dir", run->tls);
    if (x509)
      json_object_object_add (tls, "verify-peer", json_object_new_boolean (true));
    add_option (argv, "--object", tls);
    set (server, "tls-creds", credentials);
  }
  add_option (argv, "--nbd-server", server);
}

GStrv
bk_gateway_arguments (const BkRun *run)
{
  g_autoptr (GStrvBuilder) argv = g_strv_builder_new ();
  g_autofree char *pid_file = path_of (run, "pid");
  g_strv_builder_add (argv, PROGRAM);
  add_server (argv, run);
  for (unsigned i = 0; i < run->disks->len; i++)
    if (!bk_run_disk_has_failed (run->disks->pdata[i]))
      add_disk (argv, run, run->disks->pdata[i]);
  g_strv_builder_add_many (argv, "--pidfile", pid_file, NULL);
  return g_strv_builder_end (argv);
}

/* --- TLS --- */

static bool
has_file (const char *folder, const char *name)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  return access (path, R_OK) == 0;
}

static gboolean
find_tls (BkRun *run, GError **error)
{
  g_clear_pointer (&run->nbd_tls, g_free);
  if (run->tls == NULL)
    return TRUE;
  bool psk = has_file (run->tls, "keys.psk");
  bool x509 = has_file (run->tls, "ca-cert.pem") && has_file (run->tls, "server-cert.pem") && has_file (run->tls, "server-key.pem");
  if (psk == x509) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
                 "the folder '%s' for TLS must hold either keys.psk or all of ca-cert.pem, server-cert.pem and server-key.pem, to be read by the daemon; it holds %s",
                 run->tls, psk ? "both" : "neither");
    return FALSE;
  }
  run->nbd_tls = g_strdup (psk ? "psk" : "x509");
  return TRUE;
}

/* --- start --- */

/* On the port that it had, when it is started again. */
static int
listen_for (BkRun *run, GError **error)
{
  g_autofree char *address = NULL;
  int fd = -1;
  if (run->nbd_listen && strcmp (run->nbd_listen, "unix") != 0) {
    fd = bk_listen_tcp (run->nbd_address ? run->nbd_address : run->nbd_listen, &address, error);
  } else {
    g_autofree char *path = path_of (run, "sock");
    fd = bk_listen_unix (path, error);
    address = g_strconcat ("unix:", path, NULL);
  }
  if (fd >= 0) {
    g_free (run->nbd_address);
    run->nbd_address = g_steal_pointer (&address);
  }
  return fd;
}

static void
leave_session (gpointer data G_GNUC_UNUSED)
{
  setsid ();
}

static gboolean
spawn (const BkRun *run, int listener, int log, GPid *pid, GError **error)
{
  g_auto (GStrv) argv = bk_gateway_arguments (run);
  const int target = LISTEN_FD;
  g_autoptr (GError) failure = NULL;
  /* It is no child of ours: nobody has to wait for it. */
  if (g_spawn_async_with_pipes_and_fds (NULL, (const char *const *)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, leave_session, NULL, -1,
                                        -1, log, &listener, &target, 1, pid, NULL, NULL, NULL, &failure))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot start " PROGRAM " (Debian: qemu-system-common), which exports for third parties: %s",
               failure->message);
  return FALSE;
}

/* The last line that it has said. */
static char *
last_words (const BkRun *run)
{
  g_autofree char *path = path_of (run, "log");
  g_autofree char *log = NULL;
  if (!g_file_get_contents (path, &log, NULL, NULL))
    return g_strdup ("it said nothing");
  g_strchomp (log);
  const char *line = strrchr (log, '\n');
  return g_strdup (line ? line + 1 : log);
}

/* It writes its PID file when all is set up. */
static gboolean
wait_started (const BkRun *run, pid_t pid, GError **error)
{
  g_autofree char *pid_file = path_of (run, "pid");
  int64_t deadline = g_get_monotonic_time () + START_TIMEOUT_US;
  while (access (pid_file, F_OK) < 0) {
    bool ended = bk_pid_has_ended (pid);
    if (ended || g_get_monotonic_time () > deadline) {
      g_autofree char *words = last_words (run);
      g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the export for third parties does not start: %s", ended ? words : "no answer in time");
      return FALSE;
    }
    g_usleep (POLL_US);
  }
  return TRUE;
}

static gboolean
start (BkRun *run, GError **error)
{
  g_autofree char *log_path = path_of (run, "log");
  g_autofree char *pid_file = path_of (run, "pid");
  GPid pid = 0;
  unlink (pid_file);
  int listener = listen_for (run, error);
  if (listener < 0)
    return FALSE;
  int log = open (log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  gboolean ok = log >= 0 || bk_error_set_errno (error, errno, "cannot write '%s'", log_path);
  ok = ok && spawn (run, listener, log, &pid, error);
  close (listener);
  if (log >= 0)
    close (log);
  if (ok && !wait_started (run, pid, error)) {
    bk_gateway_stop (run);
    ok = FALSE;
  }
  return ok;
}

static void
trim_log (const BkRun *run)
{
  g_autofree char *path = path_of (run, "log");
  struct stat info;
  if (stat (path, &info) == 0 && info.st_size > LOG_LIMIT && truncate (path, 0) < 0)
    g_debug ("cannot trim '%s': %s", path, g_strerror (errno));
}

/* This is asked once a second. */
static bool
is_running (const char *pid_file)
{
  g_autofree char *text = NULL;
  guint64 pid = 0;
  if (!g_file_get_contents (pid_file, &text, NULL, NULL))
    return false;
  g_strchomp (text);
  return g_ascii_string_to_unsigned (text, 10, 1, G_MAXINT32, &pid, NULL) && bk_pid_is ((pid_t)pid, PROGRAM, pid_file);
}

gboolean
bk_gateway_ensure (BkRun *run, GError **error)
{
  g_autofree char *pid_file = path_of (run, "pid");
  trim_log (run);
  if (is_running (pid_file))
    return TRUE;
  bk_gateway_stop (run); /* one that an earlier daemon has started and not seen ready */
  return find_tls (run, error) && start (run, error);
}

void
bk_gateway_stop (const BkRun *run)
{
  g_autofree char *pid_file = path_of (run, "pid");
  pid_t pid = bk_pid_find (PROGRAM, pid_file);
  int64_t deadline = g_get_monotonic_time () + END_TIMEOUT_US;
  if (pid <= 0 || kill (pid, SIGKILL) < 0)
    return;
  while (!bk_pid_has_ended (pid) && g_get_monotonic_time () < deadline)
    g_usleep (POLL_US);
}
