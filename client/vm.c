/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"

static const BkColumn list_columns[] = {
  { "NAME", BK_CELL_TEXT, "name" },
  { "STATE", BK_CELL_STATE, "state" },
  { "QEMU", BK_CELL_TEXT, "qemu_version" },
  { "JOBS", BK_CELL_TEXT, "jobs" },
  { "QMP", BK_CELL_TEXT, "qmp" },
  { "LIBVIRT", BK_CELL_TEXT, "libvirt" },
  { "DOMAIN", BK_CELL_TEXT, "domain" },
  { NULL },
};

static const BkColumn details[] = {
  { "Name", BK_CELL_TEXT, "name" },
  { "State", BK_CELL_STATE, "state" },
  { "Reason", BK_CELL_TEXT, "reason" },
  { "QEMU", BK_CELL_TEXT, "qemu_version" },
  { "QMP socket", BK_CELL_TEXT, "qmp" },
  { "Libvirt", BK_CELL_TEXT, "libvirt" },
  { "Domain", BK_CELL_TEXT, "domain" },
  { "Domain's UUID", BK_CELL_TEXT, "uuid" },
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
check_way (const BkArgs *args, GError **error)
{
  const char *text = NULL;
  if ((bk_args_text (args, "qmp") != NULL) == (bk_args_text (args, "libvirt") != NULL))
    text = "'vm add' needs either '--qmp' or '--libvirt'";
  else if (bk_args_text (args, "domain") && bk_args_text (args, "libvirt") == NULL)
    text = "'--domain' goes with '--libvirt'";
  if (text)
    g_set_error_literal (error, BK_ERROR, BK_ERROR_INVALID, text);
  return text == NULL;
}

static gboolean
add (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  if (!check_way (args, error))
    return FALSE;
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

/* --- discover --- */

static const BkColumn domain_columns[] = {
  { "DOMAIN", BK_CELL_TEXT, "name" },
  { "STATE", BK_CELL_STATE, "state" },
  { "UUID", BK_CELL_TEXT, "uuid" },
  { "VM", BK_CELL_TEXT, "vm" },
  { NULL },
};

static gboolean
add_domain (const BkArgs *args, BkConnection *connection, BkOutput *output, json_object *domain, GError **error)
{
  json_object *name = NULL, *uuid = NULL, *vm = NULL;
  json_object_object_get_ex (domain, "name", &name);
  json_object_object_get_ex (domain, "uuid", &uuid);
  if (json_object_object_get_ex (domain, "vm", &vm) && vm != NULL)
    return TRUE;
  g_autoptr (json_object) body = json_object_new_object ();
  json_object_object_add (body, "name", json_object_get (name));
  json_object_object_add (body, "libvirt", json_object_new_string (bk_args_text (args, "libvirt")));
  json_object_object_add (body, "domain", json_object_get (uuid));
  g_autoptr (BkVmInfo) added = bk_connection_read (connection, "POST", "/v1/vms", body, &bk_vm_info_struct, NULL, error);
  if (added == NULL) {
    g_prefix_error (error, "domain '%s': ", json_object_get_string (name));
    return FALSE;
  }
  if (!bk_output_is_json (output))
    bk_output_line (output, "added VM %s", added->name);
  return TRUE;
}

/* One that cannot be added, for its name is none for a VM, does not keep the others out; the first error is told. */
static gboolean
add_domains (const BkArgs *args, BkConnection *connection, BkOutput *output, json_object *domains, GError **error)
{
  g_autoptr (GError) first = NULL;
  for (size_t i = 0; i < json_object_array_length (domains); i++) {
    g_autoptr (GError) failure = NULL;
    if (!add_domain (args, connection, output, json_object_array_get_idx (domains, i), &failure) && first == NULL)
      first = g_steal_pointer (&failure);
  }
  if (first == NULL)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&first));
  return FALSE;
}

static gboolean
discover (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autofree char *path = bk_args_query (args, "/v1/domains");
  g_autoptr (json_object) json = bk_connection_list (connection, path, 0, error);
  json_object *items = NULL;
  if (json == NULL)
    return FALSE;
  if (!bk_args_has (args, "add"))
    return bk_output_list (output, &bk_domain_info_struct, json, domain_columns, error);
  json_object_object_get_ex (json, "items", &items);
  if (!add_domains (args, connection, output, items, error))
    return FALSE;
  if (!bk_output_is_json (output))
    return TRUE;
  g_autoptr (json_object) after = bk_connection_list (connection, path, 0, error);
  return after && bk_output_list (output, &bk_domain_info_struct, after, domain_columns, error);
}

static const BkOption discover_options[] = {
  { "libvirt", BK_OPTION_TEXT, "URI", NULL, "libvirt", true, "whose domains: qemu:///system" },
  { "add", BK_OPTION_FLAG, NULL, NULL, NULL, false, "make VMs of all that are none yet, under their own names" },
  { NULL },
};

static const BkOption add_options[] = {
  { "qmp", BK_OPTION_PATH, "SOCKET", NULL, "qmp", false, "QMP socket of the VM" },
  { "libvirt", BK_OPTION_TEXT, "URI", NULL, "libvirt", false, "it is a domain of libvirt there: qemu:///system" },
  { "domain", BK_OPTION_TEXT, "DOMAIN", NULL, "domain", false, "name or UUID of the domain, if not NAME" },
  { "agent", BK_OPTION_PATH, "SOCKET", NULL, "agent", false, "socket of its guest agent" },
  { "class", BK_OPTION_MAP, "DISK=CLASS,...", NULL, "classes", false, "classes of its disks: vda=os,vdb=database" },
  { NULL },
};

static const BkOperand name_operand[] = { { "NAME", BK_OPTION_TEXT, "name" }, { NULL } };

const BkCommand bk_vm_commands[] = {
  { "vm add", "make a VM known", add_options, name_operand, add },
  { "vm discover", "list the domains of libvirt, or make VMs of them", discover_options, NULL, discover },
  { "vm list", "list VMs", NULL, NULL, list },
  { "vm show", "show a VM and its disks", NULL, name_operand, show },
  { "vm remove", "forget a VM; its backups are kept", NULL, name_operand, remove_vm },
  { NULL },
};
