/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway.h"

#include "bk-json.h"
#include "listen.h"
#include "storage-daemon.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
  set (address, "str", G_STRINGIFY (BK_STORAGE_DAEMON_FD));
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
  add_server (argv, run);
  for (unsigned i = 0; i < run->disks->len; i++)
    if (!bk_run_disk_has_failed (run->disks->pdata[i]))
      add_disk (argv, run, run->disks->pdata[i]);
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

static gboolean
start (BkRun *run, GError **error)
{
  g_autofree char *log = path_of (run, "log");
  g_autofree char *pid_file = path_of (run, "pid");
  g_auto (GStrv) argv = bk_gateway_arguments (run);
  BkStorageDaemon wanted = { .argv = argv, .pid_file = pid_file, .log = log, .purpose = "exports for third parties" };
  wanted.fd = listen_for (run, error);
  if (wanted.fd < 0)
    return FALSE;
  gboolean ok = bk_storage_daemon_start (&wanted, error);
  close (wanted.fd);
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

gboolean
bk_gateway_ensure (BkRun *run, GError **error)
{
  g_autofree char *pid_file = path_of (run, "pid");
  trim_log (run);
  if (bk_storage_daemon_runs (pid_file)) /* this is asked once a second */
    return TRUE;
  bk_gateway_stop (run); /* one that an earlier daemon has started and not seen ready */
  return find_tls (run, error) && start (run, error);
}

void
bk_gateway_stop (const BkRun *run)
{
  g_autofree char *pid_file = path_of (run, "pid");
  bk_storage_daemon_end (pid_file, false);
}
