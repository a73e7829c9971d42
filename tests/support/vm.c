/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vm.h"

#include "process.h"

#include <check.h>
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <signal.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  BkTestDisk disk;
  char *path;
  uint8_t *content;
} Disk;

struct BkTestVm {
  BkProcess *process;
  char *qmp, *own;
  GSocketConnection *connection;
  GDataInputStream *input;
  Disk *disks;
  unsigned n;
};

static char *
read_answer (BkTestVm *vm)
{
  for (;;) {
    g_autoptr (GError) error = NULL;
    char *line = g_data_input_stream_read_line (vm->input, NULL, NULL, &error);
    ck_assert_msg (line != NULL, "QEMU's monitor is gone: %s", error ? error->message : "end of file");
    if (g_str_has_prefix (line, "{\"return\"") || g_str_has_prefix (line, "{\"error\"") || strstr (line, "\"QMP\""))
      return line;
    g_free (line); /* an event */
  }
}

char *
bk_test_vm_execute (BkTestVm *vm, const char *command)
{
  g_autoptr (GError) error = NULL;
  GOutputStream *output = g_io_stream_get_output_stream (G_IO_STREAM (vm->connection));
  g_output_stream_write_all (output, command, strlen (command), NULL, NULL, &error);
  ck_assert_ptr_null (error);
  return read_answer (vm);
}

static void
connect_monitor (BkTestVm *vm)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GSocketClient) client = g_socket_client_new ();
  g_autoptr (GSocketAddress) address = g_unix_socket_address_new (vm->own);
  vm->connection = g_socket_client_connect (client, G_SOCKET_CONNECTABLE (address), NULL, &error);
  ck_assert_msg (vm->connection != NULL, "%s", error ? error->message : "");
  vm->input = g_data_input_stream_new (g_io_stream_get_input_stream (G_IO_STREAM (vm->connection)));
  g_data_input_stream_set_newline_type (vm->input, G_DATA_STREAM_NEWLINE_TYPE_CR_LF);
  g_free (read_answer (vm));
  g_free (bk_test_vm_execute (vm, "{\"execute\":\"qmp_capabilities\"}"));
}

static void
make_disk (Disk *disk, const char *folder, const BkTestDisk *spec)
{
  disk->disk = *spec;
  disk->path = g_strdup_printf ("%s/%s.%s", folder, spec->name, spec->format);
  disk->content = g_malloc0 (spec->size);
  if (g_file_test (disk->path, G_FILE_TEST_EXISTS))
    return;
  g_autofree char *size = g_strdup_printf ("%" G_GUINT64_FORMAT, spec->size);
  const char *const argv[] = { "qemu-img", "create", "-q", "-f", spec->format, disk->path, size, NULL };
  bk_process_run (argv);
}

static void
add_disk (GStrvBuilder *argv, const Disk *disk)
{
  const char *name = disk->disk.name;
  g_autofree char *drive = g_strdup_printf ("if=none,id=%s,format=%s,discard=unmap,file=%s", name, disk->disk.format, disk->path);
  g_autofree char *blockdev = g_strdup_printf ("driver=%s,node-name=%s,discard=unmap,file.driver=file,file.filename=%s", disk->disk.format, name,
                                               disk->path);
  g_autofree char *group = g_strdup_printf ("throttle-group,id=%s-group,x-iops-total=100000", name);
  g_autofree char *filter = g_strdup_printf ("driver=throttle,node-name=%s-throttle,throttle-group=%s-group,file=%s", name, name, name);
  g_autofree char *iothread = g_strdup_printf ("iothread,id=%s-io", name);
  g_autofree char *thread = disk->disk.iothread ? g_strdup_printf (",iothread=%s-io", name) : g_strdup ("");
  g_autofree char *controller = g_strdup_printf ("virtio-scsi-pci,id=%s-ctl%s", name, thread);
  g_autofree char *scsi = g_strdup_printf ("scsi-hd,id=%s,bus=%s-ctl.0,drive=%s", name, name, name);
  g_autofree char *device = g_strdup_printf ("virtio-blk-pci,id=%s,drive=%s%s%s", name, name, disk->disk.throttle ? "-throttle" : "", thread);
  g_strv_builder_add_many (argv, disk->disk.drive ? "-drive" : "-blockdev", disk->disk.drive ? drive : blockdev, NULL);
  if (disk->disk.throttle)
    g_strv_builder_add_many (argv, "-object", group, "-blockdev", filter, NULL);
  if (disk->disk.iothread)
    g_strv_builder_add_many (argv, "-object", iothread, NULL);
  if (disk->disk.scsi)
    g_strv_builder_add_many (argv, "-device", controller, NULL);
  g_strv_builder_add_many (argv, "-device", disk->disk.scsi ? scsi : device, NULL);
}

static GStrv
command_line (BkTestVm *vm)
{
  GStrvBuilder *argv = g_strv_builder_new ();
  g_autofree char *qmp = g_strdup_printf ("unix:%s,server=on,wait=off", vm->qmp);
  g_autofree char *own = g_strdup_printf ("unix:%s,server=on,wait=off", vm->own);
  g_strv_builder_add_many (argv, "qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "64", "-machine", "q35",
                           "-qmp", qmp, "-qmp", own, NULL);
  for (unsigned i = 0; i < vm->n; i++) {
    add_disk (argv, &vm->disks[i]);
  }
  GStrv result = g_strv_builder_end (argv);
  g_strv_builder_unref (argv);
  return result;
}

static void
launch (BkTestVm *vm)
{
  g_auto (GStrv) argv = command_line (vm);
  vm->process = bk_process_start_listening ((const char *const *)argv, vm->own);
  connect_monitor (vm);
}

BkTestVm *
bk_test_vm_start (const char *folder, const BkTestDisk *disks, unsigned n)
{
  BkTestVm *vm = g_new0 (BkTestVm, 1);
  vm->qmp = g_strdup_printf ("%s/vm.qmp", folder);
  vm->own = g_strdup_printf ("%s/test.qmp", folder);
  vm->disks = g_new0 (Disk, n);
  vm->n = n;
  for (unsigned i = 0; i < n; i++)
    make_disk (&vm->disks[i], folder, &disks[i]);
  launch (vm);
  return vm;
}

void
bk_test_vm_restart (BkTestVm *vm)
{
  bk_process_free (vm->process);
  g_unlink (vm->own); /* or it would seem to listen already */
  launch (vm);
}

static void
disconnect (BkTestVm *vm)
{
  g_clear_object (&vm->input);
  g_clear_object (&vm->connection);
}

void
bk_test_vm_stop (BkTestVm *vm, bool clean)
{
  if (clean)
    g_free (bk_test_vm_execute (vm, "{\"execute\":\"quit\"}"));
  else
    bk_process_signal (vm->process, SIGKILL);
  disconnect (vm);
  bk_process_wait (vm->process);
}

void
bk_test_vm_free (BkTestVm *vm)
{
  disconnect (vm);
  bk_process_free (vm->process);
  for (unsigned i = 0; i < vm->n; i++) {
    g_free (vm->disks[i].path);
    g_free (vm->disks[i].content);
  }
  g_free (vm->disks);
  g_free (vm->qmp);
  g_free (vm->own);
  g_free (vm);
}

const char *
bk_test_vm_qmp (BkTestVm *vm)
{
  return vm->qmp;
}

pid_t
bk_test_vm_pid (BkTestVm *vm)
{
  return bk_process_pid (vm->process);
}

static Disk *
find (BkTestVm *vm, const char *name)
{
  for (unsigned i = 0; i < vm->n; i++)
    if (strcmp (vm->disks[i].disk.name, name) == 0)
      return &vm->disks[i];
  ck_abort_msg ("no disk %s", name);
}

/* qemu-io on the device's own BlockBackend goes the way of a guest's request, through every filter. */
static void
device_io (BkTestVm *vm, const char *disk, const char *what)
{
  g_autofree char *command = g_strdup_printf ("{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":"
                                              "\"qemu-io -d /machine/peripheral/%s%s \\\"%s\\\"\"}}",
                                              disk, find (vm, disk)->disk.scsi ? "" : "/virtio-backend", what);
  g_autofree char *answer = bk_test_vm_execute (vm, command);
  ck_assert_msg (strstr (answer, "rror") == NULL && strstr (answer, "failed") == NULL, "%s: %s", what, answer);
}

void
bk_test_vm_write (BkTestVm *vm, const char *name, uint8_t pattern, uint64_t offset, uint64_t length)
{
  Disk *disk = find (vm, name);
  g_autofree char *what = g_strdup_printf ("write -P %u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, pattern, offset, length);
  device_io (vm, name, what);
  memset (disk->content + offset, pattern, length);
}

void
bk_test_vm_zero (BkTestVm *vm, const char *name, uint64_t offset, uint64_t length)
{
  Disk *disk = find (vm, name);
  g_autofree char *what = g_strdup_printf ("write -z -u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, offset, length);
  device_io (vm, name, what);
  memset (disk->content + offset, 0, length);
}

uint8_t *
bk_test_vm_content (BkTestVm *vm, const char *name)
{
  const Disk *disk = find (vm, name);
  return g_memdup2 (disk->content, disk->disk.size);
}

static void
assert_no_leftover (const char *answer, const char *member)
{
  g_autofree char *pattern = g_strdup_printf ("\"%s\": \"bkd-[^\"]*\"", member);
  g_autoptr (GRegex) regex = g_regex_new (pattern, 0, 0, NULL);
  g_autoptr (GMatchInfo) match = NULL;
  g_regex_match (regex, answer, 0, &match);
  for (; g_match_info_matches (match); g_match_info_next (match, NULL)) {
    g_autofree char *found = g_match_info_fetch (match, 0);
    ck_assert_msg (strstr (found, "-cp-") != NULL, "left behind in QEMU: %s", found);
  }
}

void
bk_test_vm_assert_clean (BkTestVm *vm)
{
  g_autofree char *nodes = bk_test_vm_execute (vm, "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}");
  g_autofree char *jobs = bk_test_vm_execute (vm, "{\"execute\":\"query-jobs\"}");
  g_autofree char *status = bk_test_vm_execute (vm, "{\"execute\":\"query-status\"}");
  assert_no_leftover (nodes, "node-name");
  assert_no_leftover (nodes, "name");
  assert_no_leftover (jobs, "id");
  ck_assert_msg (strstr (status, "\"running\"") != NULL, "the guest does not run: %s", status);
}

void
bk_test_assert_content (const char *path, const char *format, const uint8_t *expected, uint64_t size)
{
  g_autofree char *raw = g_strdup_printf ("%s.raw-copy", path);
  const char *const argv[] = { "qemu-img", "convert", "-f", format, "-O", "raw", path, raw, NULL };
  bk_process_run (argv);
  g_autoptr (GError) error = NULL;
  g_autoptr (GMappedFile) file = g_mapped_file_new (raw, FALSE, &error);
  ck_assert_msg (file != NULL, "%s", error ? error->message : "");
  ck_assert_uint_eq (g_mapped_file_get_length (file), size);
  const uint8_t *content = (const uint8_t *)g_mapped_file_get_contents (file);
  bool same = memcmp (content, expected, size) == 0;
  uint64_t i = 0;
  while (!same && content[i] == expected[i])
    i++;
  ck_assert_msg (same, "%s: byte %" G_GUINT64_FORMAT " is %02x, not %02x", path, i, content[i], expected[i]);
  g_unlink (raw);
}
