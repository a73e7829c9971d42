/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512
#define SO_ACCEPTCON_FLAG 0x10000 /* in /proc/net/unix */
#define PAGE 4096 /* what O_DIRECT asks of the buffer's address */

typedef struct nbd_handle NbdHandle;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (NbdHandle, nbd_close)

static gboolean
time_is_up (unsigned timeout_ms, const char *what, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "%s: no answer within %u ms", what, timeout_ms);
  return FALSE;
}

/* --- NBD --- */

/* Lets @nbd go on until @done tells 1 or -1, or it fails (-1), or the time is up: then *@in_time is false. */
static int
go_on (NbdHandle *nbd, int (*done) (NbdHandle *nbd, int64_t cookie), int64_t cookie, int64_t deadline, bool *in_time)
{
  int result = 0;
  *in_time = true;
  while ((result = done (nbd, cookie)) == 0) {
    int64_t left = deadline - g_get_monotonic_time ();
    *in_time = left > 0;
    if (!*in_time || nbd_poll (nbd, (int)(left / 1000) + 1) < 0)
      return -1;
  }
  return result;
}

static int
has_connected (NbdHandle *nbd, int64_t cookie G_GNUC_UNUSED)
{
  return nbd_aio_is_connecting (nbd) ? 0 : nbd_aio_is_ready (nbd) ? 1 : -1;
}

static int
has_completed (NbdHandle *nbd, int64_t cookie)
{
  return nbd_aio_command_completed (nbd, (uint64_t)cookie);
}

/* Without a listener, or the export. A full queue of connections is a server that does not come to accept. */
static gboolean
no_connection (const char *path, const char *export_name, GError **error)
{
  int errsv = nbd_get_errno ();
  g_set_error (error, BK_ERROR, errsv == EAGAIN ? BK_ERROR_UNREACHABLE : BK_ERROR_NOT_FOUND, "export '%s' on '%s': %s", export_name, path,
               nbd_get_error ());
  return FALSE;
}

static gboolean
connect_to (NbdHandle *nbd, const char *path, const char *export_name, int64_t deadline, unsigned timeout_ms, GError **error)
{
  bool in_time = true;
  if (nbd_set_export_name (nbd, export_name) < 0 || nbd_aio_connect_unix (nbd, path) < 0)
    return no_connection (path, export_name, error);
  int result = go_on (nbd, has_connected, 0, deadline, &in_time);
  if (!in_time)
    return time_is_up (timeout_ms, path, error);
  return result > 0 || no_connection (path, export_name, error);
}

static gboolean
read_sector (NbdHandle *nbd, const char *export_name, int64_t deadline, unsigned timeout_ms, GError **error)
{
  char sector[SECTOR];
  bool in_time = true;
  int64_t cookie = nbd_aio_pread (nbd, sector, sizeof sector, 0, NBD_NULL_COMPLETION, 0);
  int result = cookie < 0 ? -1 : go_on (nbd, has_completed, cookie, deadline, &in_time);
  if (!in_time)
    return time_is_up (timeout_ms, export_name, error);
  if (result > 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot read export '%s': %s", export_name, nbd_get_error ());
  return FALSE;
}

static int
has_closed (NbdHandle *nbd, int64_t cookie G_GNUC_UNUSED)
{
  return nbd_aio_is_closed (nbd) ? 1 : nbd_aio_is_dead (nbd) ? -1 : 0;
}

/* In good order, or QEMU complains in the VM's log. */
static void
say_goodbye (NbdHandle *nbd, int64_t deadline)
{
  bool in_time = true;
  if (nbd_aio_disconnect (nbd, 0) == 0 && go_on (nbd, has_closed, 0, deadline, &in_time) < 0)
    g_debug ("the probe's connection ends badly");
}

gboolean
bk_probe_nbd (const char *path, const char *export_name, unsigned timeout_ms, GError **error)
{
  int64_t deadline = g_get_monotonic_time () + timeout_ms * INT64_C (1000);
  g_autoptr (NbdHandle) nbd = nbd_create ();
  if (nbd == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "libnbd: %s", nbd_get_error ());
    return FALSE;
  }
  if (!connect_to (nbd, path, export_name, deadline, timeout_ms, error) || !read_sector (nbd, export_name, deadline, timeout_ms, error))
    return FALSE;
  say_goodbye (nbd, deadline);
  return TRUE;
}

/* --- files --- */

typedef struct {
  gatomicrefcount users;
  char *path;
  GMutex lock;
  GCond cond;
  bool done;
  int errsv; /* 0: it was read */
} FileRead;

static void
file_read_unref (FileRead *read)
{
  if (!g_atomic_ref_count_dec (&read->users))
    return;
  g_free (read->path);
  g_mutex_clear (&read->lock);
  g_cond_clear (&read->cond);
  g_free (read);
}

static int
read_file (const char *path)
{
  _Alignas (PAGE) char page[PAGE];
  int fd = open (path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0)
    return errno;
  ssize_t length = pread (fd, page, sizeof page, 0);
  int errsv = length < 0 ? errno : length < SECTOR ? ENODATA : 0;
  close (fd);
  return errsv;
}

static gpointer
read_in_thread (gpointer data)
{
  FileRead *read = data;
  int errsv = read_file (read->path);
  g_mutex_lock (&read->lock);
  read->errsv = errsv;
  read->done = true;
  g_cond_signal (&read->cond);
  g_mutex_unlock (&read->lock);
  file_read_unref (read);
  return NULL;
}

static bool
wait_for_read (FileRead *read, unsigned timeout_ms, int *errsv)
{
  int64_t deadline = g_get_monotonic_time () + timeout_ms * INT64_C (1000);
  g_mutex_lock (&read->lock);
  while (!read->done && g_cond_wait_until (&read->cond, &read->lock, deadline))
    ;
  bool done = read->done;
  *errsv = read->errsv;
  g_mutex_unlock (&read->lock);
  return done;
}

gboolean
bk_probe_file (const char *path, unsigned timeout_ms, GError **error)
{
  FileRead *read = g_new0 (FileRead, 1);
  g_atomic_ref_count_init (&read->users);
  g_atomic_ref_count_inc (&read->users);
  read->path = g_strdup (path);
  g_mutex_init (&read->lock);
  g_cond_init (&read->cond);
  g_thread_unref (g_thread_new ("probe", read_in_thread, read));
  int errsv = 0;
  bool done = wait_for_read (read, timeout_ms, &errsv);
  file_read_unref (read);
  if (!done)
    return time_is_up (timeout_ms, path, error);
  if (errsv == 0)
    return TRUE;
  bool gone = errsv == ENOENT || errsv == ENOTCONN || errsv == ENODATA;
  g_set_error (error, BK_ERROR, gone ? BK_ERROR_NOT_FOUND : BK_ERROR_FAILED, "cannot read '%s': %s", path, g_strerror (errsv));
  return FALSE;
}

/* --- sockets --- */

/* A line of /proc/net/unix: number, references, protocol, flags, type, state, inode, path. */
static bool
is_listener (const char *line, const char *path)
{
  g_auto (GStrv) words = g_strsplit_set (line, " ", -1);
  guint64 flags = 0;
  const char *const *word = (const char *const *)words;
  for (unsigned n = 0; *word != NULL; word++) {
    n += **word != '\0';
    if (**word != '\0' && n == 4)
      g_ascii_string_to_unsigned (*word, 16, 0, G_MAXUINT32, &flags, NULL);
  }
  return (flags & SO_ACCEPTCON_FLAG) != 0 && g_str_has_suffix (line, path) && line[strlen (line) - strlen (path) - 1] == ' ';
}

/* Not by a connection: its end would be in the VM's log as an error. */
bool
bk_probe_listener (const char *path)
{
  g_autofree char *sockets = NULL;
  if (!g_file_get_contents ("/proc/net/unix", &sockets, NULL, NULL))
    return false;
  g_auto (GStrv) lines = g_strsplit (sockets, "\n", -1);
  for (size_t i = 0; lines[i]; i++)
    if (strlen (lines[i]) > strlen (path) && is_listener (lines[i], path))
      return true;
  return false;
}
