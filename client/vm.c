/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"

static const BkColumn list_columns[] = {
  { "NAME", BK_CELL_TEXT, "name" },
  { "STATE", BK_CELL_STATE, "state" },
  { "QEMU", BK_CELL_TEXT, "qemu_version" },
  { "JOBS", BK_CELL_TEXT, "jobs" },
  { "QMP", BK_CELL_TEXT, "qmp" },
  { NULL },
};

static const BkColumn details[] = {
  { "Name", BK_CELL_TEXT, "name" },
  { "State", BK_CELL_STATE, "state" },
  { "Reason", BK_CELL_TEXT, "reason" },
  { "QEMU", BK_CELL_TEXT, "qemu_version" },
  { "QMP socket", BK_CELL_TEXT, "qmp" },
  { "Guest agent", BK_CELL_TEXT, "agent" },
  { "Disk classes", BK_CELL_TEXT, "classes" },
  { "Unfinished jobs", BK_CELL_TEXT, "jobs" },
  { "Added", BK_CELL_TEXT, "added_at" },
  { "Disks last seen", BK_CELL_TEXT, "recorded_at" },
  { NULL },
};

static const BkColumn disk_columns[] = {
  { "DISK", BK_CELL_TEXT, "name" },
  { "SIZE", BK_CELL_SIZE, "size" },
  { "FORMAT", BK_CELL_TEXT, "format" },
  { "CLASS", BK_CELL_TEXT, "class" },
  { "SELECTED", BK_CELL_TEXT, "selected" },
  { "KEEPS BITMAPS", BK_CELL_TEXT, "incremental" },
  { "ALSO KNOWN AS", BK_CELL_TEXT, "aliases" },
  { "REASON", BK_CELL_TEXT, "reason" },
  { NULL },
};

static gboolean
add (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autoptr (json_object) body = bk_args_body (args);
  g_autoptr (BkVmInfo) vm = bk_connection_read (connection, "POST", "/v1/vms", body, &bk_vm_info_struct, &json, error);
  if (vm == NULL)
    return FALSE;
  if (bk_output_is_json (output))
    bk_output_json (output, json);
  else if (vm->reason && g_strcmp0 (vm->state, "connecting") != 0)
    bk_output_line (output, "added VM %s; it is %s: %s", vm->name, vm->state ? vm->state : "not ready", vm->reason);
  else
    bk_output_line (output, "added VM %s", vm->name);
  return TRUE;
}

static gboolean
list (const BkArgs *args G_GNUC_UNUSED, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = bk_connection_list (connection, "/v1/vms", 0, error);
  return json && bk_output_list (output, &bk_vm_info_struct, json, list_columns, error);
}

static gboolean
show (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autofree char *path = bk_args_path (args, "/v1/vms", "NAME", NULL);
  g_autoptr (BkVmInfo) vm = bk_connection_read (connection, "GET", path, NULL, &bk_vm_info_struct, &json, error);
  if (vm == NULL)
    return FALSE;
  if (bk_output_is_json (output)) {
    bk_output_json (output, json);
    return TRUE;
  }
  bk_output_details (output, &bk_vm_info_struct, vm, details);
  bk_output_section (output, "Disks", &bk_disk_info_struct, vm->disks, disk_columns);
  return TRUE;
}

static gboolean
remove_vm (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  static const BkCommandDelete delete = { "/v1/vms", "NAME", "removed VM", "; its backups are kept" };
  return bk_command_delete (args, connection, output, &delete, error);
}

static const BkOption add_options[] = {
  { "qmp", BK_OPTION_PATH, "SOCKET", NULL, "qmp", true, "QMP socket of the VM" },
  { "agent", BK_OPTION_PATH, "SOCKET", NULL, "agent", false, "socket of its guest agent" },
  { "class", BK_OPTION_MAP, "DISK=CLASS,...", NULL, "classes", false, "classes of its disks: vda=os,vdb=database" },
  { NULL },
};

static const BkOperand name_operand[] = { { "NAME", BK_OPTION_TEXT, "name" }, { NULL } };

const BkCommand bk_vm_commands[] = {
  { "vm add", "make a VM known", add_options, name_operand, add },
  { "vm list", "list VMs", NULL, NULL, list },
  { "vm show", "show a VM and its disks", NULL, name_operand, show },
  { "vm remove", "forget a VM; its backups are kept", NULL, name_operand, remove_vm },
  { NULL },
};
