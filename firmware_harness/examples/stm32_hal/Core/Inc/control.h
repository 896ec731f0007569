/* SPDX-License-Identifier: Apache-2.0 */
/* A policy that turns a motor, for a project made with STM32CubeMX. */
#ifndef CONTROL_H
#define CONTROL_H

/* Starts encoder, PWM and the control timer. Stops in Error_Handler if this build does not compute
 * what the policy's example says. */
void control_start(void);

/* Acts if a control period has begun; call it as often as you can. */
void control_poll(void);

#endif
