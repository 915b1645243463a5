"""How do events reach MQTT?"""
