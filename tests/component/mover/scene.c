/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scene.h"

#include "suite.h"

#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

static Server *
server_new (void)
{
  Server *server = g_new0 (Server, 1);
  server->folder = bk_suite_folder ();
  server->socket_path = g_build_filename (server->folder, "nbd", NULL);
  server->address.socket_path = server->socket_path;
  return server;
}

Server *
server_start (const char *program, ...)
{
  Server *server = server_new ();
  bool nbdkit = g_str_equal (program, "nbdkit");
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  va_list arguments;
  g_ptr_array_add (argv, (gpointer)program);
  g_ptr_array_add (argv, (gpointer)(nbdkit ? "-f" : "-t"));
  g_ptr_array_add (argv, (gpointer)(nbdkit ? "-U" : "-k"));
  g_ptr_array_add (argv, server->socket_path);
  va_start (arguments, program);
  for (const char *argument; (argument = va_arg (arguments, const char *));)
    g_ptr_array_add (argv, (gpointer)argument);
  va_end (arguments);
  g_ptr_array_add (argv, NULL);
  server->process = bk_process_start_listening ((const char *const *)argv->pdata, server->socket_path);
  return server;
}

void
server_free (Server *server)
{
  bk_process_free (server->process);
  g_free (server->socket_path);
  g_free (server->folder);
  g_free (server);
}

char *
make_raw (const char *folder, const char *name, uint64_t size)
{
  char *path = g_build_filename (folder, name, NULL);
  g_autofree uint32_t *data = g_malloc (64 * KIB);
  int fd = open (path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (ftruncate (fd, (off_t)size), 0);
  for (uint64_t offset = 0; offset < size; offset += 64 * KIB) {
    gint32 kind = g_random_int_range (0, 3);
    for (size_t i = 0; i < 64 * KIB / sizeof *data; i++)
      data[i] = kind == 0 ? g_random_int () : 0;
    size_t length = (size_t)MIN (64 * KIB, size - offset);
    if (kind != 2)
      ck_assert_int_eq (pwrite (fd, data, length, (off_t)offset), (ssize_t)length);
  }
  close (fd);
  return path;
}

void
assert_same (const char *a, const char *a_format, const char *b, const char *b_format)
{
  bk_process_run ((const char *[]){ "qemu-img", "compare", "-q", "-f", a_format, "-F", b_format, a, b, NULL });
}

bool
carry (BkReader *reader, BkSink *sink, GCancellable *cancellable, BkCopyCounters *counters, GError **error)
{
  BkCopy *copy = bk_copy_new (reader, sink, NULL);
  bool ok = bk_copy_run (copy, cancellable, error);
  if (counters)
    *counters = bk_copy_counters (copy);
  bk_copy_free (copy);
  bk_reader_free (reader);
  bk_sink_free (sink);
  return ok;
}
